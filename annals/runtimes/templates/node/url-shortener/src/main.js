import { randomInt } from 'node:crypto'
import { store } from './stores.js'

const LETTERS = '23456789abcdefghijkmnpqrstuvwxyz' // none that look alike
const CODE = /^[a-z0-9][a-z0-9-]{0,31}$/
const TRIES = 5

export default async ({ req, res, log, error }) => {
  const links = store(req.headers)

  if (req.method === 'GET' || req.method === 'HEAD') {
    const code = req.path.slice(1)
    const url = CODE.test(code) ? await links.get(code) : null
    return url ? res.redirect(url, 302, { 'cache-control': 'no-store' }) : res.json({ error: 'No such link.' }, 404)
  }
  if (req.method !== 'POST') return res.json({ error: 'GET a link, or POST one.' }, 405, { allow: 'GET, HEAD, POST' })

  const token = process.env.ADMIN_TOKEN
  if (token && req.headers.authorization !== `Bearer ${token}`) return res.json({ error: 'Not allowed.' }, 401)

  const wish = asked(req.bodyText)
  if (wish.error) return res.json({ error: wish.error }, 400)
  for (let tries = 0; tries < TRIES; tries++) {
    const code = wish.code ?? Array.from({ length: 6 }, () => LETTERS[randomInt(LETTERS.length)]).join('')
    if (await links.put(code, wish.url)) {
      log(`${code} leads to ${wish.url}`)
      return res.json({ code, short: `${process.env.SHORT_BASE_URL ?? ''}/${code}`, url: wish.url }, 201)
    }
    if (wish.code) return res.json({ error: 'This code is taken.' }, 409)
  }
  error('No free code was found.')
  return res.json({ error: 'Try again.' }, 503)
}

function asked (text) {
  let body
  try {
    body = JSON.parse(text)
  } catch {
    return { error: 'Send JSON with a url.' }
  }
  if (typeof body?.url !== 'string' || !URL.canParse(body.url) || !/^https?:$/.test(new URL(body.url).protocol)) {
    return { error: 'url must be an http or https URL.' }
  }
  if (body.code !== undefined && !CODE.test(body.code)) {
    return { error: 'code is up to 32 lower-case letters, digits and dashes.' }
  }
  return { url: new URL(body.url).href, code: body.code }
}
