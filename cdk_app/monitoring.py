"""Who is notified of what: the topic, the alarms and the budget."""

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from cdk_app import nag


class Monitoring(Construct):
    """One topic for everything that goes wrong. It sends to `email` if there is one."""

    def __init__(self, scope: Construct, construct_id: str, *, email: str, monthly_budget: int) -> None:
        super().__init__(scope, construct_id)
        name = cdk.Stack.of(self).stack_name
        self.topic = sns.Topic(self, "Topic", display_name=name, enforce_ssl=True)
        nag.accept(
            self.topic,
            "SNS2",
            "The topic carries the names of runs and the reasons why they failed. It stores nothing, and alarms cannot "
            "publish to a topic that is encrypted with the free key of AWS.",
        )
        self.topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid="Alarms",
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[self.topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": cdk.Aws.ACCOUNT_ID}},
            )
        )
        if email:
            self.topic.add_subscription(subscriptions.EmailSubscription(email))
        if monthly_budget:
            self._add_budget(name, email, monthly_budget)

    def add_alarms(self, workflow: sfn.StateMachine, clean_up: lambda_.IFunction) -> None:
        """Raise an alarm when a run does not succeed, and when the clean-up fails, ends an old cluster, or stops."""
        for name, description, metric in (
            ("RunFailed", "A run failed.", workflow.metric_failed()),
            ("RunTimedOut", "A run took too long.", workflow.metric_timed_out()),
            ("RunAborted", "A run was aborted.", workflow.metric_aborted()),
            ("ClusterOutlivedRun", "A cluster outlived its run, or the clean-up failed.", clean_up.metric_errors()),
        ):
            self._add_alarm(
                name,
                alarm_description=description,
                metric=metric,
                threshold=1,
                evaluation_periods=1,
                comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
                treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            )
        # CloudFormation calls the clean-up when it creates the stack. Until CloudWatch counts that call, this alarm may
        # be raised, but nobody can have confirmed the address yet.
        self._add_alarm(
            "CleanUpStopped",
            alarm_description="Nothing called the clean-up for two hours.",
            metric=clean_up.metric_invocations(period=cdk.Duration.hours(1)),
            threshold=1,
            evaluation_periods=2,
            comparison_operator=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.BREACHING,
        )

    def _add_alarm(self, construct_id: str, **alarm: Any) -> None:
        cloudwatch.Alarm(self, construct_id, **alarm).add_alarm_action(actions.SnsAction(self.topic))

    def _add_budget(self, name: str, email: str, monthly_budget: int) -> None:
        def notify(kind: str, percent: int) -> budgets.CfnBudget.NotificationWithSubscribersProperty:
            return budgets.CfnBudget.NotificationWithSubscribersProperty(
                notification=budgets.CfnBudget.NotificationProperty(
                    notification_type=kind, comparison_operator="GREATER_THAN", threshold=percent
                ),
                subscribers=[budgets.CfnBudget.SubscriberProperty(subscription_type="EMAIL", address=email)],
            )

        budgets.CfnBudget(
            self,
            "Budget",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_name=name,
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(amount=monthly_budget, unit="USD"),
                # This has an effect once `stack` is activated as a cost allocation tag in the billing console.
                cost_filters={"TagKeyValue": [f"user:stack${name}"]},
            ),
            notifications_with_subscribers=[notify("ACTUAL", 80), notify("FORECASTED", 100)],
        )
