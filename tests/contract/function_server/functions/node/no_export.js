exports.start = ({ res }) => res.text('never called');
