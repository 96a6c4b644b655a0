"""A synthesised template for tests: readable names replace the references."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

ACCOUNT, REGION = "0" * 12, "eu-west-3"
_PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "fruits-dev",
}


@dataclass(frozen=True)
class Synthesised:
    """The resources of a template, with all references resolved."""

    template: Mapping[str, Any]

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the properties of all resources of a type, by short name."""
        return {
            _short(name): self.resolve(resource.get("Properties", {}))
            for name, resource in self.template["Resources"].items()
            if resource["Type"] == kind
        }

    def one(self, kind: str, part: str) -> dict[str, Any]:
        """Return the properties of the only resource of a type whose name contains `part`."""
        found = [properties for name, properties in self.of(kind).items() if part in name]
        assert len(found) == 1, f"{len(found)} resources of {kind} have {part} in their name"
        return found[0]

    def statements(self, role: str) -> list[dict[str, Any]]:
        """Return the statements of the policies of a role."""
        return [
            statement
            for policy in self.of("AWS::IAM::Policy").values()
            if role in policy["Roles"]
            for statement in policy["PolicyDocument"]["Statement"]
        ]

    def definition(self) -> dict[str, Any]:
        """Return the definition of the state machine."""
        (machine,) = self.of("AWS::StepFunctions::StateMachine").values()
        definition: dict[str, Any] = json.loads(machine["DefinitionString"])
        return definition

    @cached_property
    def _kinds(self) -> dict[str, str]:
        return {name: resource["Type"] for name, resource in self.template["Resources"].items()}

    def resolve(self, value: Any) -> Any:
        """Return a value of the template as CloudFormation would pass it, with invented physical names."""
        match value:
            case list():
                return [self.resolve(item) for item in value]
            case {"Ref": name}:
                found: Any = self._ref(name)
            case {"Fn::GetAtt": [name, attribute]}:
                found = self._attribute(name, attribute)
            case {"Fn::Join": [separator, parts]}:
                found = separator.join(self.resolve(parts))
            case {"Fn::Sub": str(text)}:
                found = re.sub(r"\$\{([^}]+)\}", lambda match: self._ref(match[1]), text)
            case dict():
                found = {key: self.resolve(item) for key, item in value.items()}
            case _:
                found = value
        return found

    def _ref(self, name: str) -> str:
        if name in _PSEUDO:
            return _PSEUDO[name]
        arns = {"AWS::SNS::Topic": "sns", "AWS::StepFunctions::StateMachine": "states"}
        kind = self._kinds.get(name, "")
        return self._arn(name, arns[kind]) if kind in arns else _short(name)

    def _attribute(self, name: str, attribute: str) -> str:
        if attribute != "Arn":
            return f"{_short(name)}.{attribute}"
        return self._arn(name, self._kinds[name].split("::")[1].lower())

    def _arn(self, name: str, service: str) -> str:
        if service == "s3":
            return f"arn:aws:s3:::{_short(name)}"
        if service == "iam":
            return f"arn:aws:iam::{ACCOUNT}:role/{_short(name)}"
        return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{_short(name)}"


def _short(name: str) -> str:
    """Return a logical ID without the hash that CDK appends."""
    return re.sub(r"[0-9A-F]{8}$", "", name)
