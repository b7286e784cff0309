def start(context):
    return context.res.text("never called")
