// What is done with each kind of event; a handler's return value goes into the answer. Add your own here.
export const handlers = {
  ping: async () => ({ pong: true }),

  'order.paid': async (event, { log }) => {
    log(`Order ${event.data?.id} is paid.`)
    return { order: event.data?.id ?? null }
  }
}
