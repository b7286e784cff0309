'use strict';
// `context.req`: the request as the function sees it.

const { isUtf8 } = require('node:buffer');

const HIDDEN = 'x-open-runtimes-';
const DEFAULT_PORTS = { https: 443, http: 80 };

/** The request. Bodies are parsed when they are read, so an invalid one fails only functions that read it. */
class Request {
  constructor(method, target, headers, body) {
    this.method = method;
    this.headers = headers;
    this.bodyBinary = body;
    this.scheme = headers['x-forwarded-proto'] || 'http';
    [this.host, this.port] = splitHost(headers.host || '', this.scheme);
    const hash = target.indexOf('#');
    if (hash >= 0) target = target.slice(0, hash);
    const mark = target.indexOf('?');
    this.path = mark < 0 ? target : target.slice(0, mark);
    this.queryString = mark < 0 ? '' : target.slice(mark + 1);
    this.query = parseQuery(this.queryString);
    const port = this.port === (DEFAULT_PORTS[this.scheme] || 80) ? '' : `:${this.port}`;
    this.url = `${this.scheme}://${this.host}${port}${this.path}${this.queryString && `?${this.queryString}`}`;
  }

  get bodyText() {
    return this.bodyBinary.toString('utf8');
  }

  get bodyJson() {
    return JSON.parse(this.bodyText);
  }

  /** Deprecated: `bodyText`. */
  get bodyRaw() {
    return this.bodyText;
  }

  get body() {
    if ((this.headers['content-type'] || '').toLowerCase().startsWith('application/json')) {
      return this.bodyBinary.length ? this.bodyJson : {};
    }
    return this.bodyText;
  }
}

/** Return all headers with names in lower case. Repeated ones are joined as lists, cookies by `; `. */
function joinHeaders(raw) {
  const headers = {};
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i].toLowerCase();
    const value = asSent(raw[i + 1]);
    const known = own(headers, name);
    set(headers, name, known === undefined ? value : known + (name === 'cookie' ? '; ' : ', ') + value);
  }
  return headers;
}

/** Return a header's text: Node reads Latin-1, but the bytes are decoded as UTF-8 if they are valid. */
function asSent(value) {
  if (!/[\u0080-\u00ff]/.test(value)) return value;
  const bytes = Buffer.from(value, 'latin1');
  return isUtf8(bytes) ? bytes.toString('utf8') : value;
}

/** Return the request's headers, without the control plane's headers and with the enforced ones. */
function visibleHeaders(headers, enforced) {
  const visible = {};
  for (const name in headers) if (!name.startsWith(HIDDEN)) set(visible, name, headers[name]);
  for (const [name, value] of enforced) set(visible, name, value);
  return visible;
}

/** Return the path and query of a request target; proxies may send a whole URL (RFC 9112 §3.2.2). */
function originForm(target) {
  const match = /^https?:\/\/[^/?#]*(.*)$/s.exec(target);
  if (!match) return target;
  return match[1].startsWith('/') ? match[1] : `/${match[1]}`;
}

function splitHost(host, scheme) {
  const colon = host.indexOf(':', host.lastIndexOf(']') + 1); // an IPv6 address keeps its colons
  const port = colon < 0 ? '' : host.slice(colon + 1);
  const name = colon < 0 ? host : host.slice(0, colon);
  return [name, /^[0-9]+$/.test(port) ? Number(port) : DEFAULT_PORTS[scheme] || 80];
}

/** Return the query's fields without percent-decoding; the last one of a repeated key counts. */
function parseQuery(text) {
  const query = {};
  if (text === '') return query;
  for (const piece of text.split('&')) {
    const at = piece.indexOf('=');
    const name = at < 0 ? piece : piece.slice(0, at);
    if (name !== '') set(query, name, at < 0 ? '' : piece.slice(at + 1));
  }
  return query;
}

function own(map, name) {
  return Object.prototype.hasOwnProperty.call(map, name) ? map[name] : undefined;
}

/** Set a key of a map. Callers choose the names, so `__proto__` must become an ordinary key. */
function set(map, name, value) {
  if (name === '__proto__') {
    Object.defineProperty(map, name, { value, enumerable: true, configurable: true, writable: true });
  } else {
    map[name] = value;
  }
}

module.exports = { HIDDEN, Request, joinHeaders, originForm, visibleHeaders };
