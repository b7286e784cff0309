'use strict';
// System routes, checks, and the life of each execution.

const fs = require('node:fs');
const path = require('node:path');
const { timingSafeEqual } = require('node:crypto');

const { Loader, NotLoaded } = require('./loader.cjs');
const { Logs } = require('./logs.cjs');
const { executions } = require('./native.cjs');
const { Request, joinHeaders, originForm, visibleHeaders } = require('./request.cjs');
const { Unusable, finish, plain, response } = require('./response.cjs');
const { readDeployment } = require('./settings.cjs');

const MAX_BODY = 20 * 1024 * 1024;
const LONGEST_MS = 2 ** 31 - 1; // a longer timer would fire at once
const BAD_TIMEOUT = 'Header "x-open-runtimes-timeout" must be an integer greater than 0.';
const UNAUTHORIZED = 'Unauthorized. Provide correct "x-open-runtimes-secret" header.';
const SPECIALISE = '/__annals/specialise';

/** One running execution. It is answered once, by the first event that ends it. */
class Job {
  constructor(log, jobs, send) {
    this.log = log;
    this.jobs = jobs;
    this.send = send;
    this.done = false;
    this.timer = null;
    jobs.add(this);
  }

  /** Write the logs before the reply: a caller with the reply can read all logs. */
  complete(reply) {
    if (this.done) return;
    this.done = true;
    this.jobs.delete(this);
    if (this.timer) clearTimeout(this.timer);
    const drained = this.log.close();
    if (drained) drained.then(() => this.send(reply));
    else this.send(reply);
  }

  /** Answer with the status alone; the reason is logged in the errors. */
  fail(status, message) {
    if (this.done) return;
    this.log.error(message);
    this.complete(finish({ statusCode: status }, this.log.id));
  }

  returned(output) {
    let reply;
    try {
      reply = finish(output, this.log.id);
    } catch (error) {
      this.fail(500, error instanceof Unusable ? error.message : describe(error));
      return;
    }
    this.complete(reply);
  }

  raised(error) {
    this.fail(error instanceof NotLoaded ? 503 : 500, error instanceof NotLoaded ? error.message : describe(error));
  }
}

/** Answers every request of this process. */
class App {
  constructor(wiring) {
    this.wiring = wiring;
    this.logs = new Logs(wiring.logs, wiring.logsDir, wiring.logLimit);
    this.deployment = null;
    this.jobs = new Set();
    if (!wiring.generic) this.serveDeployment(wiring.code);
  }

  serveDeployment(code) {
    const deployment = readDeployment(code);
    this.loader = new Loader(code, deployment.entrypoint);
    this.secret = Buffer.from(deployment.secret);
    this.deployment = deployment;
  }

  /** Check the headers in the contract's order; return an error reply, or null to read the body. */
  admit(target, headers) {
    const route = originForm(target).split('?', 1)[0];
    if (route === '/__opr/health') return plain(200, 'OK');
    if (route === '/__opr/timings') return plain(200, this.timings());
    if (route === SPECIALISE && this.wiring.generic) {
      return this.deployment ? plain(409, 'Already specialised.') : null;
    }
    if (!this.deployment) return plain(503, 'Not specialised yet.');
    const timeout = headers['x-open-runtimes-timeout'];
    if (timeout && !(/^[0-9]+$/.test(timeout) && Number(timeout) > 0)) return plain(500, BAD_TIMEOUT);
    if (!this.authorised(headers['x-open-runtimes-secret'])) return plain(500, UNAUTHORIZED);
    return null;
  }

  authorised(secret = '') {
    if (!this.secret.length) return true;
    const given = Buffer.from(secret);
    return given.length === this.secret.length && timingSafeEqual(given, this.secret);
  }

  timings() {
    try {
      return fs.readFileSync(path.join(this.wiring.telemetry, 'timings.txt'), 'utf8');
    } catch {
      return '';
    }
  }

  /** Run one admitted request; `send` is called once with its reply. */
  serve(method, target, headers, body, send) {
    if (!this.deployment) {
      send(this.specialise(body));
      return;
    }
    const request = new Request(method, originForm(target), visibleHeaders(headers, this.deployment.enforced), body);
    const job = new Job(this.logs.open(headers, this.deployment.development), this.jobs, send);
    const timeout = headers['x-open-runtimes-timeout'];
    if (timeout) {
      const milliseconds = Math.min(Number(timeout) * 1000, LONGEST_MS);
      job.timer = setTimeout(() => job.fail(500, 'Execution timed out.'), milliseconds);
    }
    executions.run(job, () => this.start(job, request));
  }

  start(job, request) {
    const context = { req: request, res: { ...response }, log: job.log.log, error: job.log.error };
    if (this.loader.main) run(this.loader.main, context, job);
    else this.loader.load().then((main) => run(main, context, job), (error) => job.raised(error));
  }

  /** Flush batched output: the process is about to end. */
  flush() {
    for (const job of this.jobs) job.log.flush();
  }

  /** Apply the environment and code of one deployment. */
  specialise(body) {
    let wish;
    try {
      wish = JSON.parse(body.toString('utf8'));
      if (typeof wish.code !== 'string' || wish.env === null || typeof wish.env !== 'object') throw new TypeError();
    } catch {
      return plain(400, 'Expected {env, code}.');
    }
    for (const [name, value] of Object.entries(wish.env)) process.env[name] = String(value);
    this.serveDeployment(wish.code);
    return plain(200, 'OK');
  }
}

/** Call user code; the reply of a synchronous function is sent in the same turn. */
function run(main, context, job) {
  let output;
  try {
    output = main(context);
  } catch (error) {
    job.raised(error);
    return;
  }
  if (typeof output?.then === 'function') output.then((value) => job.returned(value), (error) => job.raised(error));
  else job.returned(output);
}

function describe(error) {
  if (!(error instanceof Error)) return `Uncaught ${String(error)}`;
  return error.stack || error.message || error.name;
}

module.exports = { App, MAX_BODY, describe };
