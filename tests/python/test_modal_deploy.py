"""`modal deploy` itself, unmodified, with the fleet's app: what Modal would be
asked for, as its own client puts it. Nothing is built or started."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "providers"), str(ROOT / "tests" / "wire")]

import bfwire as w  # noqa: E402
from modal_api import ModalApi, api_pb2, message_class  # noqa: E402

LINE = f"run ed25519 {w.b64(w.public_bytes(w.private_key(b'r' * 32)))} test"
# The program, but for whose certificates it trusts.
MODAL = (
    "import certifi, os, sys\n"
    "certifi.where = lambda: os.environ['SSL_CERT_FILE']\n"
    "from modal.__main__ import main\n"
    "sys.argv[0] = 'modal'\n"
    "main()\n"
)


class Control(ModalApi):
    """What a deployment asks of Modal, accepted."""

    def __getattr__(self, name: str) -> Any:
        """What is asked besides is answered with nothing."""
        rpc = api_pb2.DESCRIPTOR.services_by_name["ModalClient"].methods_by_name.get(
            name.removeprefix("_")
        )
        if rpc is None or rpc.server_streaming or not name.startswith("_"):
            raise AttributeError(name)

        async def nothing(_: Any) -> Any:
            return message_class(rpc.output_type)()

        return nothing

    async def _EnvironmentGetOrCreate(self, _: Any) -> Any:
        answer = api_pb2.EnvironmentGetOrCreateResponse(environment_id="en-1")
        answer.metadata.settings.image_builder_version = "2025.06"
        return answer

    async def _AppCreate(self, _: Any) -> Any:
        return api_pb2.AppCreateResponse(app_id="ap-1")

    async def _ImageGetOrCreate(self, _: Any) -> Any:
        answer = api_pb2.ImageGetOrCreateResponse(image_id=f"im-{next(self._serial)}")
        answer.result.status = api_pb2.GenericResult.GENERIC_STATUS_SUCCESS
        answer.metadata.image_builder_version = "2025.06"
        return answer

    async def _MountPutFile(self, _: Any) -> Any:
        return api_pb2.MountPutFileResponse(exists=True)

    async def _MountGetOrCreate(self, _: Any) -> Any:
        answer = api_pb2.MountGetOrCreateResponse(mount_id=f"mo-{next(self._serial)}")
        answer.handle_metadata.content_checksum_sha256_hex = "0" * 64
        return answer

    async def _FunctionPrecreate(self, asked: Any) -> Any:
        answer = api_pb2.FunctionPrecreateResponse(function_id="fu-1")
        answer.handle_metadata.function_name = asked.function_name
        return answer

    async def _FunctionCreate(self, asked: Any) -> Any:
        answer = api_pb2.FunctionCreateResponse(function_id="fu-1")
        answer.handle_metadata.function_name = asked.function.function_name
        ranked = answer.function_data.ranked_functions.add(rank=0)
        ranked.function.CopyFrom(asked.function)
        for name, method in asked.function.method_definitions.items():
            handle = answer.handle_metadata.method_handle_metadata[name]
            handle.function_name = method.function_name
            if method.webhook_config.type:
                handle.web_url = "https://acme--blockfleet.modal.run"
        return answer

    async def _SecretGetOrCreate(self, _: Any) -> Any:
        return api_pb2.SecretGetOrCreateResponse(secret_id="st-1")

    async def _ClassCreate(self, _: Any) -> Any:
        return api_pb2.ClassCreateResponse(class_id="cs-1")

    async def _AppPublish(self, _: Any) -> Any:
        return api_pb2.AppPublishResponse(url="https://modal.com/apps/acme")


class Deployment(unittest.TestCase):
    def deploy(self, **given: str) -> Any:
        """The function that was asked for."""
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.api = self.enterContext(Control(folder, engine="echo"))
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "MODAL_SERVER_URL": self.api.url,
            "MODAL_TOKEN_ID": self.api.token[0],
            "MODAL_TOKEN_SECRET": self.api.token[1],
            "SSL_CERT_FILE": str(self.api.ca),
            "BLOCKFLEET_RUN_KEYS": LINE,
            **{f"BF_MODAL_{name}": value for name, value in given.items()},
        }
        app = ROOT / "worker" / "runner" / "modal_app.py"
        done = subprocess.run(
            [sys.executable, "-c", MODAL, "deploy", str(app)],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
        self.assertEqual(
            done.returncode, 0, f"{done.stdout}{done.stderr}{dict(self.api.counts)}"
        )
        [created] = [one.message.function for one in self.api.sent("FunctionCreate")]
        return created

    def files(self) -> set[str]:
        """Where a container finds what came along."""
        asked = [one.message for one in self.api.sent("MountGetOrCreate")]
        return {file.filename for one in asked for file in one.files}

    def test_pooled(self) -> None:
        asked = self.deploy()
        self.assertEqual(
            (asked.app_name, asked.module_name), ("blockfleet", "modal_app")
        )
        self.assertTrue(asked.is_class)
        self.assertEqual(
            [
                (p.name, p.type, p.has_default)
                for p in asked.class_parameter_info.schema
            ],
            [("workspace_id", api_pb2.PARAM_TYPE_STRING, False)],
        )
        self.assertTrue(asked.untrusted)  # restrict_modal_access
        self.assertTrue(asked.block_network)
        self.assertTrue(asked.checkpointing_enabled)
        self.assertFalse(asked.single_use_containers)
        self.assertEqual(asked.max_concurrent_inputs, 4)
        self.assertEqual((asked.timeout_secs, asked.startup_timeout_secs), (960, 300))
        wants = asked.resources
        self.assertEqual((wants.milli_cpu, wants.milli_cpu_max), (1000, 1000))
        self.assertEqual((wants.memory_mb, wants.memory_mb_max), (1024, 1024))
        self.assertEqual(wants.gpu_config.gpu_type, "")
        self.assertEqual(set(asked.method_definitions), {"execute_block", "call"})

    def test_two_doors(self) -> None:
        doors = self.deploy().method_definitions
        web = doors["execute_block"].webhook_config
        self.assertEqual(web.type, api_pb2.WEBHOOK_TYPE_ASGI_APP)
        self.assertTrue(web.requires_proxy_auth)
        self.assertFalse(doors["call"].webhook_config.type)
        # No pickle ever comes back from where user code runs.
        cbor = [api_pb2.DATA_FORMAT_CBOR]
        self.assertEqual(list(doors["call"].supported_output_formats), cbor)
        self.assertIn(cbor[0], doors["call"].supported_input_formats)

    def test_nothing_else_comes_along(self) -> None:
        """Blocks can read what is in their container."""
        self.deploy()
        runner = ROOT / "worker" / "runner" / "bfrunner"
        modules = {f"/opt/blockfleet/bfrunner/{f.name}" for f in runner.glob("*.py")}
        self.assertEqual(self.files(), {"/root/modal_app.py", *modules})
        [secret] = [one.message for one in self.api.sent("SecretGetOrCreate")]
        self.assertEqual(dict(secret.env_dict), {"BLOCKFLEET_RUN_KEYS": LINE})

    def test_strict_and_otherwise(self) -> None:
        asked = self.deploy(
            PROFILE="strict",
            APP="fleet-strict",
            NETWORK="1",
            SNAPSHOT="0",
            GPU="T4",
            CPU="0.5,2",
            MAX="7",
            TIMEOUT="60",
            IMAGE="registry.example/ml:1",
            PACKAGES="pillow==11.0.0",
            APT="ffmpeg",
        )
        self.assertEqual(asked.app_name, "fleet-strict")
        self.assertTrue(asked.single_use_containers)
        self.assertFalse(asked.block_network)
        self.assertTrue(asked.untrusted)
        self.assertFalse(asked.checkpointing_enabled)
        self.assertEqual(asked.max_concurrent_inputs, 0)
        self.assertEqual(asked.timeout_secs, 120)
        self.assertEqual(asked.resources.gpu_config.gpu_type, "T4")
        self.assertEqual(asked.resources.milli_cpu_max, 2000)
        self.assertEqual(asked.autoscaler_settings.max_containers, 7)
        images = [one.message.image for one in self.api.sent("ImageGetOrCreate")]
        steps = "\n".join(line for one in images for line in one.dockerfile_commands)
        for part in ("registry.example/ml:1", "pillow==11.0.0", "ffmpeg"):
            self.assertIn(part, steps)
        self.assertIn("cryptography==", steps)
        self.assertNotIn("supervision", steps)


if __name__ == "__main__":
    unittest.main()
