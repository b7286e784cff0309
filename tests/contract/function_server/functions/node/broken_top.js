throw new Error('top level broke');
