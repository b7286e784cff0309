// Where links are kept. A store has get(code) -> url or null, and put(code, url) -> false when the code is taken.

// The function's own variables: each link is one, so links outlive instances and can be seen and removed in any
// client. Meant for some hundreds of them: more belong into a store of their own.
export class Variables {
  constructor (headers) {
    this.url = `${process.env.APPWRITE_FUNCTION_API_ENDPOINT}/functions/${process.env.APPWRITE_FUNCTION_ID}/variables`
    this.headers = {
      'x-appwrite-project': process.env.APPWRITE_FUNCTION_PROJECT_ID,
      'x-appwrite-key': headers['x-appwrite-key'] ?? '',
      'x-appwrite-response-format': '1.8.0',
      'content-type': 'application/json'
    }
  }

  async get (code) {
    return process.env[`LINK_${code}`] ?? null // a new variable is seen from the next execution on
  }

  async put (code, url) {
    const body = JSON.stringify({ key: `LINK_${code}`, value: url, secret: false })
    const answer = await fetch(this.url, { method: 'POST', headers: this.headers, body })
    if (answer.status === 409) return false
    if (!answer.ok) throw new Error(`The link could not be kept: ${answer.status} ${await answer.text()}`)
    return true
  }
}

// Any server that keeps what is PUT to <base>/<code>, and refuses to replace it when asked with If-None-Match.
export class KeyValue {
  constructor (base, token) {
    this.base = base.replace(/\/$/, '')
    this.headers = token ? { authorization: `Bearer ${token}` } : {}
  }

  async get (code) {
    const answer = await fetch(`${this.base}/${code}`, { headers: this.headers })
    if (answer.status === 404) return null
    if (!answer.ok) throw new Error(`The store answered ${answer.status}`)
    return answer.text()
  }

  async put (code, url) {
    const headers = { ...this.headers, 'if-none-match': '*', 'content-type': 'text/plain' }
    const answer = await fetch(`${this.base}/${code}`, { method: 'PUT', headers, body: url })
    if (answer.status === 412) return false
    if (!answer.ok) throw new Error(`The store answered ${answer.status}`)
    return true
  }
}

export const store = (headers) =>
  process.env.STORE_URL ? new KeyValue(process.env.STORE_URL, process.env.STORE_TOKEN) : new Variables(headers)
