"""Turns the CSV in a request's body into JSON."""

import csv
import io

MOST_ROWS = 100_000
MOST_COLUMNS = 1_000
WORDS = {"true": True, "false": False, "": None, "null": None}


class Wrong(Exception):
    """What the caller can put right."""


def main(context):
    req, res = context.req, context.res
    if req.method != "POST":
        return res.json({"error": "Send the CSV as the body of a POST."}, 405, {"allow": "POST"})
    try:
        text = req.body_binary.decode(req.query.get("encoding", "utf-8-sig"))
        rows = convert(text, req.query)
    except (UnicodeDecodeError, LookupError):
        return res.json({"error": "The body is not in the encoding that was named; UTF-8 unless told otherwise."}, 400)
    except (Wrong, csv.Error) as reason:
        context.error(str(reason))
        return res.json({"error": str(reason)}, 400)
    context.log(f"{len(rows)} rows")
    return res.json({"total": len(rows), "rows": rows})


def convert(text, options):
    """Rows as objects, or as lists when there is no header."""
    delimiter = {"tab": "\t"}.get(options.get("delimiter", ""), options.get("delimiter", ""))
    if len(delimiter) > 1:
        raise Wrong("A delimiter is one character, or tab.")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter or guessed(text), strict=True)
    typed = value if options.get("types", "yes") != "no" else str
    names, rows = None, []
    for number, row in enumerate(reader, 1):
        if not row:
            continue
        if len(row) > MOST_COLUMNS:
            raise Wrong(f"Line {number} has more than {MOST_COLUMNS} columns.")
        if names is None and options.get("header", "yes") != "no":
            names = header(row)
            continue
        if len(rows) == MOST_ROWS:
            raise Wrong(f"There are more than {MOST_ROWS} rows.")
        cells = [typed(cell) for cell in row]
        if names is not None and len(cells) != len(names):
            raise Wrong(f"Row {len(rows) + 1} has {len(cells)} columns where the header has {len(names)}.")
        rows.append(cells if names is None else dict(zip(names, cells)))
    return rows


def guessed(text):
    """The delimiter that the first line has most of."""
    first = text.partition("\n")[0]
    return max(",;\t|", key=first.count)


def header(row):
    names = [name.strip() or f"column{number}" for number, name in enumerate(row, 1)]
    if len(set(names)) != len(names):
        raise Wrong("Two columns have the same name.")
    return names


def value(cell):
    """Numbers, booleans and nothing as such; leading zeros (post codes, phone numbers) stay text."""
    plain = cell.strip()
    if plain.lower() in WORDS:
        return WORDS[plain.lower()]
    digits = plain.lstrip("-")
    if digits.isascii() and digits.isdigit() and len(digits) < 16 and (digits == "0" or digits[0] != "0"):
        return int(plain)
    whole, point, rest = digits.partition(".")
    if point and whole.isascii() and whole.isdigit() and rest.isascii() and rest.isdigit() and len(digits) < 17:
        return float(plain) if whole == "0" or whole[0] != "0" else cell
    return cell
