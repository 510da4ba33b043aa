"""The last step of the walk: how far the token moved, and what the classifier would say of it."""

import numpy as np
import streamlit as st

from explorer.attention.lens import Lens
from explorer.attention.recording import Recording
from explorer.ui.inside.token import Followed, kept_lens
from explorer.ui.messages import show_errors
from explorer.ui.widgets import facts


def draw_result(now: Followed) -> None:
    """Lengths, way and direction; then the classifier's first guess after every layer."""
    step = now.step
    before, after = step.norms
    facts(
        {
            "Length before": f"{before:.3g}",
            "Length after": f"{after:.3g}",
            "Moved by": f"{step.moved:.3g}",
            "Cosine to before": f"{step.cosine:.3f}".replace("-", "−"),
        }
    )
    st.caption("A cosine of 1: the same direction as before. 0: nothing in common. Lengths are L2 norms.")
    rec = now.recording
    if step.said is None:
        st.caption("This model has no classifier to ask.")
        return
    if rec.model.outputs == "number":
        numbers = " → ".join(f"{value:.4g}" for value in step.said[:, 0])
        st.markdown(f"**What the model would predict** from this token before and after the layer: {numbers}")
        return
    st.markdown("**What the classifier would say of this token after each layer**")
    with show_errors():
        _guesses(kept_lens(rec), rec, now)
    read = "the cls token after the last layer" if "cls" in rec.prefix_tokens else "what the last layer leaves"
    st.caption(f"The model's own last norm and classifier, asked too early: they were trained to read {read}.")


def _guesses(lens: Lens, rec: Recording, now: Followed) -> None:
    token = now.step.token
    after = ["before layer 0", *(f"layer {layer}" for layer in range(rec.depth))]
    after[now.step.layer + 1] = f"▸ layer {now.step.layer}"
    table = {
        "After": after,
        "First guess": [rec.model.class_name(int(index)) for index in lens.classes[:, token, 0]],
        "Probability": 100 * lens.probabilities[:, token, 0].astype(np.float64),
    }
    bars = st.column_config.ProgressColumn("Probability", format="%.1f %%", min_value=0, max_value=100)
    st.dataframe(table, column_config={"Probability": bars}, hide_index=True, width="stretch", height="content")
