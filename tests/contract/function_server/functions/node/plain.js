exports.default = ({ res }) => res.text('plain');
