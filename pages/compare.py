"""Compare: two models, or one before and after fine-tuning, or every kept epoch of a training, on the same photo."""

import streamlit as st

from explorer.ui.address import by_key, take, write_unless
from explorer.ui.compare import epochs
from explorer.ui.compare import view as compare_view
from explorer.ui.messages import check_link, show_errors
from explorer.ui.state import Current, current
from explorer.ui.view_settings import default_layer

SIDES = {"model": "Another model", "epochs": "Epochs of a training"}


def pick_side(trained: dict[str, str]) -> str:
    """What stands on the right; epochs only where a training kept some."""
    check_link("side", lambda text: by_key(SIDES)(text) is not None, f"one of {', '.join(SIDES)}")
    take("side", by_key(SIDES), "model")
    side = st.segmented_control(
        "Beside it", list(SIDES), format_func=SIDES.__getitem__, required=True, key="side", persist_state="session"
    )
    write_unless("side", "model")
    if side == "epochs" and not trained:
        st.info(
            "No training has kept its epochs yet. On the Fine-tune page, in the step Plan, open **More settings**, set "
            "**Keep every so many epochs** to 1, and train."
        )
        st.stop()
    return str(side)


@st.fragment
def compare(now: Current) -> None:
    """What stands beside the sidebar's model, and all that follows; a fragment, so that the sidebar stays."""
    with show_errors():
        trained = epochs.trained_models()
        key = None
        if pick_side(trained) == "epochs":
            pair, key = epochs.pick_epochs(now, trained)
        else:
            second = compare_view.pick_second(now)
            if second is None:
                compare_view.show_first_alone(now)
                return
            pair = compare_view.in_order(now, second)
        # Training changes the last layer first; two models are compared where both mark the object.
        view = compare_view.pick_view(pair, pair.first.depth - 1 if key else default_layer(pair.first))
        compare_view.canvases(view, pair)
        if key:
            epochs.divergence_by_epoch(view, pair, now, key)
        compare_view.differences(view, pair)


st.title("Two models, one photo", anchor=False)
st.markdown(
    "Point at either picture: both show where that place looks. Click to keep it. "
    "Every fine-tuned model is in the list beside the others."
)
compare(compare_view.in_common_fit(current()))
