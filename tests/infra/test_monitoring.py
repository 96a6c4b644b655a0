from cdk_app.stage_settings import StageSettings
from tests.infra.conftest import Synthesise
from tests.infra.template import Synthesised

WITH_EMAIL = StageSettings.of("prod", email="fruits@example.com", monthly_budget=50)


def test_an_alarm_for_every_bad_end_of_a_run_and_of_the_clean_up(dev: Synthesised) -> None:
    alarms = dev.of("AWS::CloudWatch::Alarm")
    assert {name: (it["MetricName"], it["Dimensions"][0]["Value"].split(":")[-1]) for name, it in alarms.items()} == {
        "WatchRunFailed": ("ExecutionsFailed", "WorkflowMachine"),
        "WatchRunTimedOut": ("ExecutionsTimedOut", "WorkflowMachine"),
        "WatchRunAborted": ("ExecutionsAborted", "WorkflowMachine"),
        "WatchClusterOutlivedRun": ("Errors", "CleanUpFunction"),
        "WatchCleanUpStopped": ("Invocations", "CleanUpFunction"),
    }
    for alarm in alarms.values():
        assert alarm["Namespace"] == ("AWS/States" if alarm["MetricName"].startswith("Executions") else "AWS/Lambda")
        assert (alarm["Statistic"], alarm["Threshold"]) == ("Sum", 1)
        assert alarm["AlarmActions"] == [dev.resolve({"Ref": _id(dev, "WatchTopic")})]


def test_two_hours_without_a_call_of_the_clean_up_raise_an_alarm(dev: Synthesised) -> None:
    alarm = dev.of("AWS::CloudWatch::Alarm")["WatchCleanUpStopped"]
    assert (alarm["Period"], alarm["EvaluationPeriods"]) == (3600, 2)
    assert (alarm["ComparisonOperator"], alarm["TreatMissingData"]) == ("LessThanThreshold", "breaching")


def test_mail_and_budget_are_optional(dev: Synthesised, synthesise: Synthesise) -> None:
    assert dev.of("AWS::SNS::Subscription") == dev.of("AWS::Budgets::Budget") == {}
    stack = synthesise(WITH_EMAIL)
    (subscription,) = stack.of("AWS::SNS::Subscription").values()
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "fruits@example.com")
    (budget,) = stack.of("AWS::Budgets::Budget").values()
    assert budget["Budget"]["BudgetLimit"] == {"Amount": 50, "Unit": "USD"}
    assert budget["Budget"]["CostFilters"] == {"TagKeyValue": ["user:stack$fruits-prod"]}


def test_alarms_may_publish(dev: Synthesised) -> None:
    statements = dev.one("AWS::SNS::TopicPolicy", "Topic")["PolicyDocument"]["Statement"]
    assert [it["Principal"] for it in statements if it["Effect"] == "Allow"] == [
        {"Service": "cloudwatch.amazonaws.com"}
    ]


def _id(stack: Synthesised, start: str) -> str:
    return next(str(name) for name in stack.template["Resources"] if name.startswith(start))
