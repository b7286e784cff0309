'use strict';
// The process inside a sandbox or container that serves one Node.js function.
// CommonJS, because it starts some milliseconds sooner than ES modules do.

require('./server/main.cjs').main();
