import { handlers } from './handlers.js'
import { verify } from './signature.js'

export default async ({ req, res, log, error }) => {
  if (req.method !== 'POST') return res.json({ error: 'Send a POST.' }, 405, { allow: 'POST' })

  const secrets = (process.env.WEBHOOK_SECRET ?? '').split(',').filter(Boolean)
  if (!secrets.length) {
    error('WEBHOOK_SECRET is not set: nothing can be believed.')
    return res.json({ error: 'This receiver is not set up.' }, 500)
  }

  const body = Buffer.from(req.bodyBinary)
  const refusal = verify(req.headers, body, secrets, Math.floor(Date.now() / 1000))
  if (refusal) {
    error(refusal)
    return res.json({ error: refusal }, 401)
  }

  let event
  try {
    event = JSON.parse(body.toString('utf8'))
  } catch {
    return res.json({ error: 'The body is no JSON.' }, 400)
  }
  const kind = req.headers['x-github-event'] ?? event?.type
  const handle = Object.hasOwn(handlers, kind ?? '') ? handlers[kind] : null
  if (!handle) {
    log(`Nothing handles ${kind}.`)
    return res.json({ handled: false }, 202)
  }
  return res.json({ handled: true, ...(await handle(event, { log, error })) })
}
