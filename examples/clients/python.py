from openfeature import api
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.evaluation_context import EvaluationContext

api.set_provider_and_wait(FlagdProvider())  # localhost:8013, or FLAGD_HOST and FLAGD_PORT
client = api.get_client()

user = EvaluationContext("user-1", {"email": "ada@example.com"})
print("sliceB_documents:", client.get_boolean_value("sliceB_documents", False, user))
api.shutdown()
