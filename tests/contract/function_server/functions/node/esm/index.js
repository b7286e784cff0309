export default ({ res }) => res.text('module');
