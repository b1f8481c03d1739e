"""The exceptions that are meant to be read by the person who started a run."""

import errno

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # an OSError that passes when somebody makes room


class InputError(Exception):
    """An expected mistake: one sentence that says what is wrong, with the offending value, and what to do.

    It is never retried, and a command ends with its sentence and exit code 1, without a traceback.
    """


class SourceChangedError(InputError):
    """The source is not what its snapshot says: what was read of it must not be kept under that snapshot."""
