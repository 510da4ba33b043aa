"""Letting go of uploaded files: Streamlit keeps their bytes in memory until the session ends."""

from collections.abc import Iterable

from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile


def let_go(files: Iterable[UploadedFile]) -> None:
    """Free the memory of files that were copied to disk.

    The uploader must get a new key as well: with the old one it would still name files that are gone. A new key alone
    empties the uploader but frees nothing, since only the cross beside a file makes the browser ask for its removal.
    """
    context = get_script_run_ctx()
    if context is None or not isinstance(context.uploaded_file_mgr, MemoryUploadedFileManager):
        return
    for file in files:
        context.uploaded_file_mgr.remove_file(context.session_id, file.file_id)
