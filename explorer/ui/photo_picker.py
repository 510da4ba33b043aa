"""The photo picker: samples, a drop zone for one's own, the camera, and thumbnails to switch between them."""

import streamlit as st

from explorer.errors import ImageError
from explorer.ui.messages import say, sentence_of
from explorer.ui.photos import Photo, add_photo, my_photos, samples

_PICKED = "photo_key"
_DROPS = "drops"  # number of the drop zone's newest generation: a new key empties it


def pick_photo() -> Photo:
    """The picker, and the photo that it shows."""
    _drop_zone()
    choices = [*my_photos(), *samples()]
    wanted = st.session_state.get(_PICKED) or st.query_params.get("photo")
    photo = next((photo for photo in choices if wanted in (photo.key, photo.source.removeprefix("sample:"))), None)
    photo = photo or choices[0]
    titles = {choice.key: choice.title for choice in choices}
    key = st.selectbox("Photo", list(titles), index=list(titles).index(photo.key), format_func=titles.__getitem__)
    st.session_state[_PICKED] = key
    return next(choice for choice in choices if choice.key == key)


def _drop_zone() -> None:
    generation = st.session_state.setdefault(_DROPS, 0)
    files = st.file_uploader("Drop photos here", accept_multiple_files=True, key=f"drop_{generation}")
    if not files:
        return
    for file in files:
        try:
            st.session_state[_PICKED] = add_photo(file, file.name).key
        except ImageError as error:
            say(sentence_of(error))
    st.session_state[_DROPS] = generation + 1
    st.rerun()
