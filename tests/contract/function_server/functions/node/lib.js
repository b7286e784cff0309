exports.greeting = () => 'from a sibling';
