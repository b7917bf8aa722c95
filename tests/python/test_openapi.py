"""schemas/openapi.yaml against the code's own tables, both ways."""

import json
import unittest
from pathlib import Path
from typing import Any

import yaml
from openapi_spec_validator import validate

ROOT = Path(__file__).resolve().parents[2]
METHODS = {"get", "put", "post", "delete", "patch"}


class OpenApi(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.doc = yaml.safe_load((ROOT / "schemas/openapi.yaml").read_text())
        cls.code = json.loads((ROOT / "dispatcher/routes.json").read_text())

    def resolve(self, node: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in node:
            found: Any = self.doc
            for part in node["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            node = found
        return node

    def operations(self) -> dict[tuple[str, str], dict[str, Any]]:
        return {
            (method.upper(), path): operation
            for path, item in self.doc["paths"].items()
            for method, operation in item.items()
            if method in METHODS
        }

    def test_it_is_openapi(self) -> None:
        validate(self.doc)

    def test_every_route_stands_there_and_nothing_else(self) -> None:
        routes = {(route["method"], route["path"]) for route in self.code["routes"]}
        self.assertEqual(routes, set(self.operations()))

    def test_every_parameter_stands_there_and_nothing_else(self) -> None:
        for route in self.code["routes"]:
            operation = self.operations()[route["method"], route["path"]]
            given = [self.resolve(p) for p in operation.get("parameters", [])]
            query = sorted(p["name"] for p in given if p["in"] == "query")
            self.assertEqual(query, sorted(route["query"]), route)
            path = [p["name"] for p in given if p["in"] == "path"]
            self.assertEqual(
                path,
                [s[1:-1] for s in route["path"].split("/") if s.startswith("{")],
            )

    def test_every_problem_stands_there_and_nothing_else(self) -> None:
        types = self.doc["components"]["schemas"]["Problem"]["properties"]["type"]
        codes = {f"urn:blockfleet:problem:{code}" for code in self.code["problems"]}
        self.assertEqual(set(types["enum"]), codes)

    def test_whoever_needs_a_key_is_told_so(self) -> None:
        for route in self.code["routes"]:
            operation = self.operations()[route["method"], route["path"]]
            everyone = route["scope"] == "everyone"
            self.assertEqual(operation.get("security") == [], everyone, route)
            needs = {"401", "403"}
            self.assertEqual(needs <= set(operation["responses"]), not everyone, route)

    def problems_of(self, answer: dict[str, Any]) -> list[str]:
        problem = answer.get("content", {}).get("application/problem+json")
        if not problem:
            return []
        _, own = problem["schema"]["allOf"]
        return [kind.rsplit(":", 1)[1] for kind in own["properties"]["type"]["enum"]]

    def test_statuses_are_those_of_their_problems(self) -> None:
        for place, operation in self.operations().items():
            for status, node in operation["responses"].items():
                for code in self.problems_of(self.resolve(node)):
                    told = self.code["problems"][code]["status"]
                    self.assertEqual(status, str(told), (place, code))

    def test_answers_are_described_in_the_words_of_the_code(self) -> None:
        named = set()
        for answer in self.doc["components"]["responses"].values():
            for code in self.problems_of(answer):
                title = self.code["problems"][code]["title"]
                self.assertIn(title, answer["description"])
                named.add(code)
        # (No resource of the document has the methods that it does not have.)
        self.assertEqual(set(self.code["problems"]) - named, {"method_not_allowed"})


if __name__ == "__main__":
    unittest.main()
