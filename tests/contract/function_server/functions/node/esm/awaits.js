const value = await Promise.resolve('awaited');

export default ({ res }) => res.text(value);
