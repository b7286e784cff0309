const value = await Promise.resolve('plain');

export default async ({ res }) => res.text(value);
