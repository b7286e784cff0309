'use strict';
// Settings from the environment: of this process (`ANNALS_*`) and of its deployment (`OPEN_RUNTIMES_*`).

const fs = require('node:fs');
const path = require('node:path');

const DEFAULT_CODE = '/usr/local/server/src/function';

/** Settings of the process, removed from the environment so that user code never sees them. */
function takeWiring() {
  const take = (name, fallback) => {
    const value = process.env[name];
    delete process.env[name];
    return value === undefined ? fallback : value;
  };
  return {
    code: take('ANNALS_CODE', DEFAULT_CODE),
    listen: take('ANNALS_LISTEN', 'tcp:0.0.0.0:3000'),
    logs: take('ANNALS_LOGS', 'files'),
    logLimit: Number(take('ANNALS_LOG_LIMIT', '0')),
    logsDir: take('ANNALS_LOGS_DIR', '/mnt/logs'),
    telemetry: take('ANNALS_TELEMETRY', '/mnt/telemetry'),
    generic: take('ANNALS_SPECIALISE', '') === '1',
  };
}

/** Settings of the deployment, read from the environment once. */
function readDeployment(code) {
  Object.assign(process.env, builtSettings(code));
  return {
    code,
    entrypoint: process.env.OPEN_RUNTIMES_ENTRYPOINT || '',
    secret: process.env.OPEN_RUNTIMES_SECRET || '',
    development: process.env.OPEN_RUNTIMES_ENV === 'development',
    enforced: enforcedHeaders(process.env.OPEN_RUNTIMES_HEADERS),
  };
}

/** Return the headers that override those of every request; none unless the variable is a JSON object. */
function enforcedHeaders(text) {
  let pairs;
  try {
    pairs = JSON.parse(text || '{}');
  } catch {
    return [];
  }
  if (pairs === null || typeof pairs !== 'object' || Array.isArray(pairs)) return [];
  return Object.entries(pairs).map(([name, value]) => [name.toLowerCase(), asText(value)]);
}

/** Return a header's value as text; structures are written as JSON. */
function asText(value) {
  return value !== null && typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** Return the settings that the build wrote beside the code as shell lines; they override the container's. */
function builtSettings(code) {
  let text;
  try {
    text = fs.readFileSync(path.join(code, '.open-runtimes'), 'utf8');
  } catch {
    return {};
  }
  const settings = {};
  for (const [, name, value] of text.matchAll(/^(OPEN_RUNTIMES_[A-Z_]+)=(.+)$/gm)) settings[name] = unquote(value);
  return settings;
}

/** Return one shell word without its quotes. */
function unquote(word) {
  return word.trim().replace(/'([^']*)'|\\(.)|"((?:[^"\\]|\\.)*)"/g, (_, single, escaped, double) => {
    if (single !== undefined) return single;
    return escaped !== undefined ? escaped : double.replace(/\\(["\\$`])/g, '$1');
  });
}

module.exports = { asText, readDeployment, takeWiring };
