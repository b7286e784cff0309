"""The text that `annals up` prints when it is ready, with commands that work when pasted."""

from annals.supervisor.supervisor import StartedInstance

_TEXT = """
Annals is ready.

  endpoint  {endpoint}
  project   {project}
  key       {key}
  data      {data}
  driver    {driver}

With curl:

curl -H 'X-Appwrite-Project: {project}' -H 'X-Appwrite-Key: {key}' {endpoint}/functions

With the Python SDK (pip install appwrite):

from appwrite.client import Client
from appwrite.services.functions import Functions

client = Client().set_endpoint("{endpoint}").set_project("{project}").set_key("{key}")
print(Functions(client).list())

Ctrl-C stops it.
"""


def welcome(started: StartedInstance) -> str:
    """Return the text. Commands begin their lines, so that whole lines can be pasted."""
    return _TEXT.format(
        endpoint=started.endpoint,
        project=started.project,
        key=started.key,
        data=started.data,
        driver=started.driver,
    )
