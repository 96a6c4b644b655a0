"""Who is told what: the topic, the alarms, the budget, and the links that a person wants after a deploy."""

import aws_cdk as cdk
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from cdk_app.settings import Settings
from cdk_app.storage import Storage


class Watch(Construct):
    """One topic for all that goes wrong, sent to the settings' e-mail address if there is one."""

    def __init__(self, scope: Construct, construct_id: str, settings: Settings) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self.topic = sns.Topic(self, "Topic", display_name=settings.name, enforce_ssl=True)
        cdk.Validations.of(self.topic).acknowledge(
            cdk.Acknowledgment(
                id="AwsSolutions-SNS2",
                reason="It carries the names of runs and why they failed; it stores nothing, and alarms could not "
                "publish with the key that AWS gives for free.",
            )
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
        if settings.email:
            self.topic.add_subscription(subscriptions.EmailSubscription(settings.email))
        if settings.monthly_budget:
            self._add_budget()

    def add_alarms(self, workflow: sfn.StateMachine, janitor: sfn.StateMachine) -> None:
        """Raise an alarm when a run does not succeed, and when the janitor fails (as it does over an old cluster)."""
        for name, description, metric in (
            ("RunFailed", "A run failed.", workflow.metric_failed()),
            ("RunTimedOut", "A run took too long.", workflow.metric_timed_out()),
            ("RunAborted", "A run was aborted.", workflow.metric_aborted()),
            ("ClusterOutlivedRun", "A cluster outlived its run, or could not be ended.", janitor.metric_failed()),
            ("JanitorTimedOut", "The janitor did not come to an end.", janitor.metric_timed_out()),
        ):
            alarm = cloudwatch.Alarm(
                self,
                name,
                alarm_description=description,
                metric=metric,
                threshold=1,
                evaluation_periods=1,
                comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
                treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            )
            alarm.add_alarm_action(actions.SnsAction(self.topic))

    def _add_budget(self) -> None:
        def told(kind: str, share: int) -> budgets.CfnBudget.NotificationWithSubscribersProperty:
            return budgets.CfnBudget.NotificationWithSubscribersProperty(
                notification=budgets.CfnBudget.NotificationProperty(
                    notification_type=kind, comparison_operator="GREATER_THAN", threshold=share
                ),
                subscribers=[
                    budgets.CfnBudget.SubscriberProperty(subscription_type="EMAIL", address=self._settings.email)
                ],
            )

        budgets.CfnBudget(
            self,
            "Budget",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_name=self._settings.name,
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(amount=self._settings.monthly_budget, unit="USD"),
                # Counts once `stack` is activated as a cost allocation tag in the billing console.
                cost_filters={"TagKeyValue": [f"user:stack${self._settings.name}"]},
            ),
            notifications_with_subscribers=[told("ACTUAL", 80), told("FORECASTED", 100)],
        )

    def add_outputs(self, stack: cdk.Stack, storage: Storage, workflow: sfn.StateMachine) -> None:
        """Print where to put photos, where to start a run and where the results are."""
        region = self._settings.region
        console = f"https://{region}.console.aws.amazon.com"
        for name, value in {
            "Photos": f"s3://{storage.data.bucket_name}/{self._settings.input_prefix}",
            "Results": f"s3://{storage.results.bucket_name}/",
            "ResultsInConsole": f"{console}/s3/buckets/{storage.results.bucket_name}?region={region}",
            "StartHere": f"{console}/states/home?region={region}#/statemachines/view/{workflow.state_machine_arn}",
            "Logs": f"s3://{storage.logs.bucket_name}/",
        }.items():
            cdk.CfnOutput(stack, name, value=value)
