const x = 1;
export default ({ res } => 1;
