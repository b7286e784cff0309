'use strict';
// The fixture function: does what the request header `x-action` says.

const { createHash } = require('node:crypto');
const fs = require('node:fs');
const { setTimeout: wait } = require('node:timers/promises');

const { greeting } = require('./lib.js');

let calls = 0;

const RAW = [0, 10, 255];
const KINDS = {
  buffer: Buffer.from(RAW),
  uint8: new Uint8Array(RAW),
  arraybuffer: new Uint8Array(RAW).buffer,
  slice: new Uint8Array([9, 9, ...RAW, 9]).subarray(2, 5),
  dataview: new DataView(new Uint8Array(RAW).buffer),
  clamped: new Uint8ClampedArray(RAW),
};

const actions = {
  text: ({ res }) => res.text('Hello 👋'),
  json: ({ res }) => res.json({ a: { b: [1, 2], c: 'd e' }, f: 1.5 }),
  redirect: ({ res }) => res.redirect('https://example.com/x?y=1'),
  empty: ({ res }) => res.empty(),
  nothing: ({ res }) => {
    res.text('not returned');
  },
  two: ({ res }) => {
    res.text('first');
    return res.text('second');
  },
  headers: ({ res }) =>
    res.text('ok', 200, {
      'X-Open-Runtimes-Secret-Thing': 'hidden',
      'X-Custom': 'kept',
      'x-number': 5,
      'Content-Type': 'Text/HTML',
    }),
  multipart: ({ res }) => res.text('ok', 200, { 'content-type': 'multipart/form-data; boundary=AbC' }),
  charset: ({ res }) => res.text('ok', 200, { 'content-type': 'text/Plain; charset=ISO-8859-1' }),
  cookies: ({ res }) => res.text('ok', 200, { 'set-cookie': ['a=1', 'b=2'] }),
  binary: ({ req, res }) =>
    req.query.kinds === undefined ? res.binary(KINDS[req.query.kind]) : res.json(Object.keys(KINDS).sort()),
  send: ({ req, res }) => res.send(req.bodyRaw),
  status: ({ req, res }) => res.text('ok', Number(req.query.code)),
  plain_map: () => ({ body: 'bare' }),
  bare_string: () => 'just text',
  injected: ({ res }) => res.text('x', 200, { 'x-bad': 'a\r\nset-cookie: evil=1' }),
  describe: ({ req, res }) => {
    const { method, scheme, host, port, path, queryString, query, url, headers } = req;
    return res.json({ method, scheme, host, port, path, queryString, query, url, headers });
  },
  body_text: ({ req, res }) => res.text(req.bodyText),
  body: ({ req, res }) => (typeof req.body === 'string' ? res.text(req.body) : res.json({ parsed: req.body })),
  body_json: ({ req, res }) => res.json({ key: req.bodyJson.key }),
  body_binary: ({ req, res }) => res.binary(req.bodyBinary),
  digest: ({ req, res }) =>
    res.json({ md5: createHash('md5').update(req.bodyBinary).digest('hex'), method: req.method }),
  environment: ({ res }) =>
    res.json({
      custom: process.env.CUSTOM ?? null,
      missing: process.env.NOT_DEFINED ?? null,
      cpus: process.env.OPEN_RUNTIMES_CPUS ?? null,
      memory: process.env.OPEN_RUNTIMES_MEMORY ?? null,
      own: Object.keys(process.env).filter((name) => name.startsWith('ANNALS_')),
    }),
  logs: ({ res, log, error }) => {
    log('Text', 'joined');
    log(42);
    log(4.2);
    log(true);
    log({ object: 'value' });
    log(['array', 1]);
    log('a' + '+' + 'b');
    log();
    error('Only an error');
    return res.text('ok');
  },
  native: ({ res, log }) => {
    log('before');
    console.log('Printed', 1);
    console.error('partial line');
    log('after');
    console.table([{ a: 1 }]);
    return res.text('ok');
  },
  long_lines: ({ res, log, error }) => {
    log('l'.repeat(9000));
    error('e'.repeat(9000));
    return res.text('ok');
  },
  many_lines: ({ req, res, log }) => {
    for (let number = 0; number < Number(req.query.lines); number += 1) {
      log(`${number} ${'x'.repeat(Number(req.query.width))}`);
    }
    return res.text('ok');
  },
  throw: () => {
    throw new Error('Something broke');
  },
  log_then_throw: async ({ log }) => {
    log('said before');
    throw new Error('Something broke');
  },
  leave: () => process.exit(3),
  die: ({ log }) => {
    log('last words');
    process.exit(3);
  },
  sleep: async ({ req, res, log }) => {
    log('start');
    await wait(Number(req.query.seconds) * 1000);
    log('end');
    return res.text('slept');
  },
  // Sleeps in several steps and prints in each, so that concurrent calls interleave.
  nap: async ({ req, res, log }) => {
    const { name } = req.query;
    for (let step = 0; step < 5; step += 1) {
      console.log(`${name}-${step}`);
      log(`${name}-logged-${step}`);
      await wait(10);
    }
    await new Promise((resolve) => setImmediate(() => resolve(console.log(`${name}-thread`))));
    return res.text(name);
  },
  slow_log: async ({ req, res, log }) => {
    for (let number = 0; number < 100; number += 1) log(`tick ${number}`);
    while (!fs.existsSync(req.query.until)) await wait(10);
    log('last');
    return res.text('ok');
  },
  // Holds its thread until a file is there, or for so many seconds.
  block: ({ req, res, log }) => {
    log('blocking');
    const end = Date.now() + Number(req.query.seconds) * 1000;
    while (Date.now() < end && !fs.existsSync(req.query.until ?? ''));
    return res.text('unblocked');
  },
  count: ({ res }) => res.text(String((calls += 1))),
  sibling: ({ res }) => res.text(greeting()),
  late_failure: ({ res }) => {
    setTimeout(() => {
      throw new Error('late failure');
    }, 50);
    return res.text('ok');
  },
  early_failure: async () => {
    setTimeout(() => {
      throw new Error('early failure');
    }, 50);
    await wait(60_000);
  },
  early_rejection: async () => {
    setTimeout(() => Promise.reject(new Error('early rejection')), 50);
    await wait(60_000);
  },
};

module.exports = (context) => actions[context.req.headers['x-action'].replaceAll('-', '_')](context);
