def main(context):
    return 1 +
