'use strict';
// `context.res`, and the conversion of its results into replies.

const { validateHeaderName, validateHeaderValue } = require('node:http');
const { types } = require('node:util');

const { HIDDEN } = require('./request.cjs');
const { asText } = require('./settings.cjs');

// A client waits for another response after a status below 200, so such a status travels in a header of a 200 response.
const INTERIM_STATUS = 'x-open-runtimes-status';
// Connection headers: the server frames the body and manages the connection.
const FRAMING = new Set(['content-length', 'transfer-encoding', 'connection', 'keep-alive', 'upgrade', 'trailer']);
const EMPTY = Buffer.alloc(0);

/** The function's result cannot be sent; the message is for its developer. */
class Unusable extends Error {}

/** Helpers that create a result; only the returned one is sent. */
const response = {
  text(body, statusCode = 200, headers = {}) {
    return { body: Buffer.from(body, 'utf8'), statusCode, headers };
  },
  json(obj, statusCode = 200, headers = {}) {
    return response.text(JSON.stringify(obj), statusCode, { ...headers, 'content-type': 'application/json' });
  },
  binary(bytes, statusCode = 200, headers = {}) {
    return { body: asBytes(bytes), statusCode, headers };
  },
  redirect(url, statusCode = 301, headers = {}) {
    return { body: EMPTY, statusCode, headers: { ...headers, location: url } };
  },
  empty() {
    return { body: EMPTY, statusCode: 204, headers: {} };
  },
  /** Deprecated: `text`, `json` or `binary`. */
  send(body, statusCode = 200, headers = {}) {
    return { body, statusCode, headers };
  },
};

function asBytes(body) {
  if (Buffer.isBuffer(body)) return body;
  if (ArrayBuffer.isView(body)) return Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  if (types.isAnyArrayBuffer(body)) return Buffer.from(body);
  if (typeof body === 'string') return Buffer.from(body, 'utf8');
  throw new Unusable(`Invalid response body: expected text or bytes, got ${typeof body}.`);
}

/** Convert a body of `send` or of a plain map, which may be a number or an object. */
function anyBody(body) {
  if (body === undefined || body === null) return EMPTY;
  if (typeof body === 'object' && !ArrayBuffer.isView(body) && !types.isAnyArrayBuffer(body)) {
    return Buffer.from(JSON.stringify(body), 'utf8');
  }
  return asBytes(typeof body === 'number' || typeof body === 'boolean' ? String(body) : body);
}

/** Convert a function's result by the contract's rules; throws Unusable. */
function finish(output, logId) {
  if (output === undefined || output === null) {
    throw new Unusable('Return statement missing. return context.res.empty() if no response is expected.');
  }
  if (typeof output !== 'object' || Array.isArray(output)) {
    const kind = Array.isArray(output) ? 'array' : typeof output;
    throw new Unusable(`Invalid response: return what a context.res helper made, not ${kind}.`);
  }
  const status = output.statusCode ?? 200;
  if (!Number.isInteger(status) || status < 100 || status > 999) {
    throw new Unusable(`Invalid response status code: ${String(status)}.`);
  }
  const headers = finishHeaders(output.headers ?? {}, logId);
  const body = anyBody(output.body);
  if (status < 200) return { status: 200, headers: [...headers, INTERIM_STATUS, String(status)], body: EMPTY };
  return { status, headers, body };
}

/** Return headers as one flat list of names and values, the form that Node writes without conversion. */
function finishHeaders(headers, logId) {
  if (typeof headers !== 'object') throw new Unusable('Invalid response headers: expected a map.');
  const lines = new Map();
  for (const [key, value] of Object.entries(headers)) {
    const name = key.toLowerCase();
    if (name.startsWith(HIDDEN) || FRAMING.has(name) || value === undefined || value === null) continue;
    lines.set(name, headerLines(name, value));
  }
  lines.set('content-type', [finishContentType(lines.get('content-type')?.at(-1) ?? 'text/plain')]);
  lines.set('x-open-runtimes-log-id', [logId]);
  const flat = [];
  for (const [name, values] of lines) for (const value of values) flat.push(name, value);
  return flat;
}

function headerLines(name, value) {
  const texts = (Array.isArray(value) ? value : [value]).map((item) => onTheWire(asText(item)));
  try {
    validateHeaderName(name);
    for (const text of texts) validateHeaderValue(name, text);
  } catch (error) {
    throw new Unusable(error.message);
  }
  return texts;
}

/** Encode a header's text so that Node, which writes Latin-1, sends its UTF-8 bytes. */
function onTheWire(text) {
  return /[^\u0000-\u007f]/.test(text) ? Buffer.from(text, 'utf8').toString('latin1') : text;
}

/** Return the content type, by default text in UTF-8; a multipart boundary keeps its case. */
function finishContentType(value) {
  const lower = value.toLowerCase();
  if (lower.startsWith('multipart/') || lower.includes('charset=')) return value;
  return `${lower}; charset=utf-8`;
}

/** Return a reply of the server itself. */
function plain(status, text, logId = '') {
  const headers = ['content-type', 'text/plain; charset=utf-8', 'x-open-runtimes-log-id', logId];
  return { status, headers, body: Buffer.from(text, 'utf8') };
}

module.exports = { Unusable, finish, plain, response };
