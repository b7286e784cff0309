const x = 1;
module.exports = ({ res } => {
  return 1;
});
