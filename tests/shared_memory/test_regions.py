"""Names of shared memory: whose they are, and whether their owner lives, also where /proc hides it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from deepfake_triton.shared_memory.regions import abandon_region, is_orphan, new_region_name

pytestmark = pytest.mark.fast
OTHER_USER = 65534
ASK_WHERE_OTHERS_ARE_HIDDEN = f"""
import os, subprocess, sys
from deepfake_triton.shared_memory.regions import is_orphan
os.setgroups([]); os.setgid({OTHER_USER}); os.setuid({OTHER_USER})
assert not os.path.exists(f"/proc/{{sys.argv[1]}}"), "not hidden"
print([is_orphan(name) for name in sys.argv[2:]])
"""
HIDE = "mount --make-rprivate / && mount -t proc -o hidepid=2 proc /proc && exec "


def name_of_ended() -> str:
    """The name of a region whose process has gone."""
    code = "from deepfake_triton.shared_memory.regions import new_region_name; print(new_region_name())"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_only_the_regions_of_ended_or_leaving_clients_are_orphans() -> None:
    own = new_region_name()
    assert not is_orphan(own) and is_orphan(name_of_ended())
    abandon_region(own)
    assert is_orphan(own)
    assert not is_orphan("of-somebody-else") and not is_orphan(f"{own}/..")
    number, start = os.getpid(), own.split("-")[-3]
    assert is_orphan(new_region_name().replace(f"-{number}-{start}-", f"-{number}-{int(start) - 1}-"))


def test_a_process_that_proc_hides_is_not_taken_for_an_ended_one() -> None:
    if os.geteuid():
        pytest.skip("only root can hide processes")
    own, ended = new_region_name(), name_of_ended()
    command = [sys.executable, "-c", ASK_WHERE_OTHERS_ARE_HIDDEN, str(os.getpid()), own, ended]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'{HIDE} "$@"', "sh", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert done.stdout.strip() == "[False, True]", done.stderr


def test_names_tell_whose_a_region_is() -> None:
    mine = new_region_name()
    assert mine != new_region_name() and not is_orphan(mine)
    prefix, namespace, pid, started, number, token = mine.rsplit("-", 5)
    rest = f"{number}-{token}"
    assert not is_orphan(f"{prefix}-1-{pid}-1-{rest}"), "of another namespace nothing is known"
    assert is_orphan(f"{prefix}-{namespace}-{pid}-{int(started) + 1}-{rest}"), "its number was given again"
    assert not is_orphan("somebody-elses")
