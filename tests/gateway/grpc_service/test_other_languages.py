"""detector.proto compiles for languages whose toolchain need not be here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

from deepfake_triton.gateway.grpc_service.messages import VideoVerdict

pytestmark = pytest.mark.compute


def stubs_for(language: str, folder: Path) -> list[Path]:
    """Make the messages with protoc, and return the files."""
    protoc = shutil.which("protoc", path=Path(sys.executable).parent) or shutil.which("protoc")
    if protoc is None:
        pytest.skip("protoc is not installed")
    folder.mkdir(exist_ok=True)
    command = [
        protoc,
        "-I",
        str(ROOT / "gateway/grpc_service"),
        f"--{language}_out={folder}",
        "detector.proto",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("language", ["cpp", "csharp", "java", "kotlin", "objc", "php", "ruby"])
def test_protoc_makes_the_messages(language: str, tmp_path: Path) -> None:
    files = stubs_for(language, tmp_path)
    assert any("VideoVerdict" in path.read_text() or "VideoVerdict" in path.name for path in files)


def protobuf_jar() -> Path:
    """protobuf's library for Java in Maven's local repository, the newest."""
    versions = (Path.home() / ".m2/repository/com/google/protobuf/protobuf-java").glob("4.*/*.jar")
    jars = {tuple(map(int, jar.parent.name.split("."))): jar for jar in versions}
    if not jars or not shutil.which("javac"):
        pytest.skip("javac, or protobuf's library for Java, is not installed")
    return jars[max(jars)]


READER = """
import deepfake.v1.*;

class Reader {
    public static void main(String[] arguments) throws Exception {
        VideoVerdict read = VideoVerdict.parseFrom(System.in);
        System.out.println(read.getVerdict() + " " + read.getFakeProbability() + " " + read.hasReason());
    }
}
"""


def test_java_reads_a_verdict(tmp_path: Path) -> None:
    jar = protobuf_jar()
    sources = [str(path) for path in stubs_for("java", tmp_path / "source")]
    reader, classes = tmp_path / "Reader.java", tmp_path / "classes"
    reader.write_text(READER)
    command = ["javac", "-proc:none", "-cp", str(jar), "-d", str(classes), str(reader), *sources]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    verdict = VideoVerdict(verdict="FAKE", fake_probability=0.75).SerializeToString()
    read = subprocess.run(
        ["java", "-cp", f"{jar}:{classes}", "Reader"], input=verdict, capture_output=True, check=False
    )
    assert read.stdout.decode() == "FAKE 0.75 false\n", read.stderr.decode()
