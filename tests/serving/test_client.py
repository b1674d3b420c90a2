"""The page's two sources answer alike, and a dead one is one sentence."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from poster_ml.errors import RequestError
from poster_ml.serving.client import Endpoint, LocalModel, Question, ask_kindly


class Model:
    """Answers with the length of the image, and remembers what it was asked."""

    def predict(self, table: pd.DataFrame, params: dict) -> pd.DataFrame:
        self.table, self.params = table, params
        if params.get("rank") and len(table) < 2:
            raise MlflowException("rank compares 2 to 50 designs, got 1 rows")
        return pd.DataFrame(
            {"probability_fresh": [len(base64.b64decode(text)) / 10 for text in table["image"]]}
        )


@pytest.fixture
def endpoint():
    model = Model()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            table = pd.DataFrame(
                **{key: body["dataframe_split"][key] for key in ("data", "columns", "index")}
            )
            try:
                answer, status = {"predictions": model.predict(table, body["params"]).to_dict("records")}, 200
            except MlflowException as error:
                answer, status = {"error_code": "INVALID_PARAMETER_VALUE", "message": str(error)}, 400
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Endpoint(f"http://127.0.0.1:{server.server_port}/"), model
    server.shutdown()


def test_a_model_in_the_process_and_a_server_are_asked_and_answer_alike(endpoint):
    served, behind = endpoint
    local = Model()
    question = Question([b"abc", b"abcde"], year="1999", genres=["Drama", "War"], params={"evidence": True})
    assert LocalModel(local).ask(question) == served.ask(question)
    pd.testing.assert_frame_equal(local.table, behind.table)
    assert local.table["year"].tolist() == ["1999", "1999"]
    assert local.table["genres"].tolist() == ["Drama|War"] * 2
    assert local.params == behind.params == {"evidence": True}


def test_what_is_unknown_is_not_sent(endpoint):
    served, behind = endpoint
    served.ask(Question([b"abc"]))
    assert list(behind.table.columns) == ["image"]


def test_a_refusal_is_the_sentence_of_the_model_in_both(endpoint):
    served, _ = endpoint
    question = Question([b"abc"], params={"rank": True})
    for service in (LocalModel(Model()), served):
        assert ask_kindly(service, question) == ([], "rank compares 2 to 50 designs, got 1 rows")


def test_what_is_refused_is_asked_more_simply_and_the_first_refusal_is_the_one_that_is_said():
    model = Model()
    question = Question([b"abc"], params={"rank": True, "explain": True})
    rows, said = ask_kindly(LocalModel(model), question, {"rank": True}, {"explain": True})
    assert (len(rows), said) == (1, "")
    assert model.params == {"explain": True}
    assert ask_kindly(LocalModel(model), question, {"rank": True})[1].startswith("rank compares 2 to 50")


def test_a_server_that_is_not_there_is_one_sentence():
    rows, sentence = ask_kindly(Endpoint("http://127.0.0.1:9"), Question([b"abc"]))
    assert rows == []
    assert sentence.startswith("no answer from http://127.0.0.1:9/invocations: start it with")


def test_an_endpoint_that_is_no_address_is_refused():
    with pytest.raises(RequestError, match="must be an address such as"):
        Endpoint("localhost:5001")
