def greeting():
    return "from a sibling"
