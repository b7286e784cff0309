// Says how long something takes, in words; the greeting comes from a variable.
const ms = require('ms')

module.exports = async ({ req, res, log }) => {
  const duration = Number(req.query.ms || 90000)
  const words = ms(duration, { long: true })
  log(`${duration} ms are ${words}`)
  return res.json({ greeting: process.env.GREETING ?? 'hello', words, node: process.version })
}
