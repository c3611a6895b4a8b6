"""A model's config.json: on disk, in the hub's cache, or from the hub; never weights, nor code."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from ffprof.errors import UsageError, did_you_mean
from ffprof.records.files import read_at_most
from ffprof.workload.models.name import ModelName
from ffprof.workload.models.package import imported, told

_MOST_BYTES = 16 * 2**20
_CONNECT_SECONDS = 5.0
_NEEDED_BY = "hf:"
_OLDEST = 5  # before it, models read the values of their tokens, which a trace does not have
_KERNELS = frozenset(
    ("attn_implementation", "_attn_implementation", "_attn_implementation_internal",
     "experts_implementation", "_experts_implementation"),
)  # fmt: skip
_FIX = "name a folder with a config.json, or a model of the hub"


def read_config(model: ModelName) -> Any:
    """What transformers makes of a model's config.

    Raises:
        UsageError: there is none, it cannot be reached, or it is not that of a model.
    """
    transformers = imported("transformers", _NEEDED_BY)
    if int(transformers.__version__.partition(".")[0]) < _OLDEST:
        raise UsageError(
            f"hf: needs transformers {_OLDEST}, and this is {transformers.__version__}",
            "pip install --upgrade transformers",
        )
    path = Path(model.config) if model.config else _of_hub(model.name)
    content = _read(path, model.id)
    kind = content.get("model_type")
    known = transformers.CONFIG_MAPPING
    if not isinstance(kind, str):
        of_timm = content.get("architecture")
        raise UsageError(
            f"the config of {model.id} names no model_type, so it is no model's of transformers",
            f"write timm:{of_timm}" if isinstance(of_timm, str) else _FIX,
        )
    if kind not in known:
        near = did_you_mean(kind, known)
        raise UsageError(
            f"the model_type {kind[:100]!r} of {model.id} is not known to transformers "
            f"{transformers.__version__}",
            f"{near}a newer transformers may know it; code of the model's own is not run",
        )
    quantized = content.get("quantization_config")
    if isinstance(quantized, dict):
        how = str(quantized.get("quant_method", "some way"))[:40]
        raise UsageError(
            f"the weights of {model.id} are quantized ({how}), which is not modelled",
            "name the model that it was made from",
        )
    try:
        return known[kind].from_dict(
            _without_code(content)
        )  # as AutoConfig does, without files and code
    except Exception as error:
        raise UsageError(
            f"the config of {model.id} cannot be that of a {kind} ({told(error)})", _FIX
        ) from error


def _without_code(content: Any) -> Any:
    """The config without the kernels that it asks for, which may be code of the hub."""
    if isinstance(content, list):
        return [_without_code(one) for one in content]
    if not isinstance(content, dict):
        return content
    return {key: _without_code(one) for key, one in content.items() if key not in _KERNELS}


def _read(path: Path, name: str) -> dict[str, Any]:
    try:
        content = read_at_most(path, _MOST_BYTES)
        found = None if content is None else json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"the config of {name} is not JSON ({told(error)})", _FIX) from error
    if not isinstance(found, dict):
        raise UsageError(f"the config of {name} is no config of a model", _FIX)
    return found


def _of_hub(name: str) -> Path:
    """The config.json of a name of the hub, from its cache if it is there.

    Raises:
        UsageError: there is no such model, or it cannot be reached.
    """
    hub = imported("huggingface_hub", _NEEDED_BY)
    errors = hub.errors
    try:
        return Path(hub.hf_hub_download(name, "config.json", local_files_only=True))
    except errors.HFValidationError as error:
        raise UsageError(f"hf:{name} is no name of the hub ({told(error)})", _FIX) from error
    except (OSError, ValueError):
        pass  # it is not in the cache
    absent = f"hf:{name} is not in the hub's cache"
    if hub.constants.HF_HUB_OFFLINE:
        raise UsageError(f"{absent}, and HF_HUB_OFFLINE is set", _FIX)
    host = urlsplit(hub.constants.ENDPOINT)
    if not _answers(host.hostname or "", host.port or 443):
        raise UsageError(f"{absent}, and {host.hostname} cannot be reached", _FIX)
    try:
        return Path(hub.hf_hub_download(name, "config.json"))
    except errors.GatedRepoError as error:
        raise UsageError(
            f"hf:{name} is gated", "log in with hf auth login as one who may read it"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UsageError(
            f"there is no model {name} on the hub, or it is private", "check its name"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise UsageError(f"{absent}, and {host.hostname} cannot be reached", _FIX) from error
    except errors.EntryNotFoundError as error:
        raise UsageError(f"hf:{name} has no config.json", _FIX) from error
    except (OSError, ValueError) as error:
        raise UsageError(f"the config of hf:{name}: {told(error)}", _FIX) from error


def _answers(host: str, port: int) -> bool:
    """Whether a server can be connected to, so that nothing is tried again and again for nothing.

    By way of a proxy that is not known, and what the hub's own client tries is tried.
    """
    if getproxies() or os.environ.get("HF_ENDPOINT"):
        return True
    try:
        socket.create_connection((host, port), _CONNECT_SECONDS).close()
    except OSError:
        return False
    return True
