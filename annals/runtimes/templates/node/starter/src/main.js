// Answers every request; what it logs is kept with the execution.
export default async ({ req, res, log, error }) => {
  log(`${req.method} ${req.path}`)

  if (req.path === '/ping') {
    return res.text('Pong')
  }

  if (req.method === 'POST' && req.headers['content-type']?.startsWith('application/json')) {
    try {
      return res.json({ received: JSON.parse(req.bodyText) })
    } catch (reason) {
      error(`The body is no JSON: ${reason.message}`)
      return res.json({ error: 'Send JSON.' }, 400)
    }
  }

  return res.json({
    function: process.env.APPWRITE_FUNCTION_NAME,
    deployment: process.env.APPWRITE_FUNCTION_DEPLOYMENT,
    runtime: `${process.env.APPWRITE_FUNCTION_RUNTIME_NAME} ${process.env.APPWRITE_FUNCTION_RUNTIME_VERSION}`,
    next: 'Edit src/main.js and deploy again.'
  })
}
