require('no-such-module-anywhere');

module.exports = ({ res }) => res.empty();
