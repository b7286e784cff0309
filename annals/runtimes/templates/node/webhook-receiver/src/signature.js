import { createHmac, timingSafeEqual } from 'node:crypto'

export const TOLERANCE_SECONDS = 300

// Two usual forms: GitHub's `x-hub-signature-256: sha256=<hex>` over the body, and a timestamped
// `x-signature: t=<seconds>,v1=<hex>` over `<seconds>.<body>`, which can't be sent again later.
export function verify (headers, body, secrets, now) {
  const plain = headers['x-hub-signature-256']
  if (plain) {
    return matches(plain.replace(/^sha256=/, ''), body, secrets) ? '' : 'The signature is wrong.'
  }
  const stamped = headers['x-signature']
  if (!stamped) return 'The request is not signed.'
  const parts = stamped.split(',').map(part => part.trim().split('='))
  const time = Number(parts.find(([name]) => name === 't')?.[1])
  if (!Number.isInteger(time) || Math.abs(now - time) > TOLERANCE_SECONDS) {
    return 'The signature is too old, or from the future.'
  }
  const signed = Buffer.concat([Buffer.from(`${time}.`), body])
  const given = parts.filter(([name]) => name === 'v1').map(([, value]) => value)
  return given.some(value => matches(value, signed, secrets)) ? '' : 'The signature is wrong.'
}

function matches (hex, signed, secrets) {
  const given = Buffer.from(hex ?? '', 'hex')
  return secrets.some(secret => {
    const wanted = createHmac('sha256', secret).update(signed).digest()
    return given.length === wanted.length && timingSafeEqual(given, wanted)
  })
}
