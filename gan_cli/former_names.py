"""Former names of members, so that plug-ins written for an earlier version still work."""

from collections.abc import Mapping


def accept_former_names(cls: type, names: Mapping[str, str]) -> None:
    """Let a class define and call members by their former names too.

    Args:
        cls: the class itself, or a subclass that a plug-in defines.
        names: present names, with the former one of each.
    """
    for present, former in names.items():
        if present in vars(cls):
            setattr(cls, former, vars(cls)[present])
        elif former in vars(cls):
            setattr(cls, present, vars(cls)[former])
