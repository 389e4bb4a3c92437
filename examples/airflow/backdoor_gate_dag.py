"""Scan a candidate, and promote it if it passed. For Airflow 3, with the gate installed in an environment of its own.

On the worker: the Airflow connection or the environment holds MLFLOW_TRACKING_URI and MLFLOW_TRACKING_TOKEN, and
BACKDOOR_GATE_HOME names the folder with `policy.yaml` and what it refers to. `backdoor-gate` must be on the PATH.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Param

# The name of the model reaches the shell through the environment only, never as a part of the command.
MODEL = {"MODEL": "{{ params.model }}"}

with DAG(
    "backdoor_gate",
    schedule=None,
    catchup=False,
    params={"model": Param("models:/digits@challenger", type="string")},
    # A verdict is not a glitch: trying again does not change it.
    default_args={"retries": 0, "execution_timeout": timedelta(minutes=75)},
):
    scan = BashOperator(
        task_id="scan",
        bash_command='backdoor-gate scan "$MODEL" --policy "$BACKDOOR_GATE_HOME/policy.yaml" --quiet',
        env=MODEL,
        append_env=True,
    )
    promote = BashOperator(
        task_id="promote",
        bash_command='backdoor-gate promote "$MODEL" --policy "$BACKDOOR_GATE_HOME/policy.yaml" --alias champion',
        env=MODEL,
        append_env=True,
    )
    scan >> promote
