"""Fine-tune: data, plan, training and result on one page; the training itself is a process of its own."""

import streamlit as st

from explorer.ui.datasets import show_report
from explorer.ui.finetune.data import choose_data, dataset_in_use
from explorer.ui.finetune.plan import choose_plan
from explorer.ui.finetune.result import show_result
from explorer.ui.finetune.runs import go_to, pick_run, show_runs, steps
from explorer.ui.finetune.train import show_run
from explorer.ui.messages import show_errors
from explorer.ui.sidebar import model_only
from explorer.ui.state import chosen


def data_step() -> None:
    """Choose a data set and look at what is in it."""
    with show_errors():
        choose_data()
    dataset = dataset_in_use()
    if dataset:
        show_report(dataset.report, dataset.title)
        if st.button("Plan the training", type="primary", icon=":material/arrow_forward:"):
            go_to("Plan")


def plan_step() -> None:
    """Choose the settings, see the cost, start."""
    dataset = dataset_in_use()
    if dataset is None:
        st.caption("First choose images in the step Data.")
    else:
        choose_plan(chosen(), dataset)


def train_step() -> None:
    """Watch a run."""
    run = pick_run()
    if run is None:
        st.caption("No run yet: choose images in Data, then start one in Plan.")
    else:
        show_run(run.folder)


def result_step() -> None:
    """Show how good a run's model became."""
    run = pick_run()
    if run is None:
        st.caption("No run yet: choose images in Data, then start one in Plan.")
    else:
        show_result(run)


model_only()
st.title("Fine-tune", anchor=False)
st.write("Teach a model your own classes: upload a zip, watch the curves, use the model.")
for tab, draw in zip(steps(), (data_step, plan_step, train_step, result_step, show_runs), strict=True):
    if tab.open:
        with tab, show_errors():
            draw()
