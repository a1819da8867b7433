"""Scoring a loaded model on prepared data, and where its scores are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segtune.core import rundir as names
from segtune.core.errors import DataError, SegtuneError
from segtune.core.files import read_json, write_json
from segtune.core.log import get_logger
from segtune.core.rundir import RunDir
from segtune.data.loader import ScoringLoader
from segtune.data.prepare import Prepared
from segtune.data.spec import DataSpec, is_absent
from segtune.engine.config import EvalConfig
from segtune.engine.evaluator import evaluate_split, score_baselines, write_evaluation
from segtune.engine.inference import Mode
from segtune.engine.loading import Loaded
from segtune.engine.pictures import write_pictures
from segtune.engine.processes import is_first
from segtune.engine.progress import scoring_progress

_log = get_logger(__name__)


def score(
    loaded: Loaded,
    prepared: Prepared,
    out: Path,
    config: EvalConfig,
    modes: list[Mode],
    *,
    baselines: dict[str, Any] | None = None,
    first_query_only: bool = False,
    deviations: Sequence[str] = (),
    num_workers: int = 0,
    undefined: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Scores a loaded model and writes `eval_*.json`, `predictions/*.jsonl` and pictures.

    Several processes share the images, and the first one writes.

    Args:
        loaded: The model, on its device.
        prepared: The data.
        out: The folder to write into, as `folder_of_scores` says.
        config: Images per batch, length of answers, number of pictures.
        modes: `generate`, `forced` or both.
        baselines: From `score_baselines`; None computes those that need no training data.
        first_query_only: Score one query per record, as some papers do.
        deviations: Further departures from the protocol that the scores tell, as `docs/protocol.md` names them.
        num_workers: Processes that prepare batches.
        undefined: What else has no value, by name, and why: baselines whose training data are missing.

    Returns:
        One scores document per mode; the baselines are in those of the first process alone.
    """
    name, split = prepared.spec.name, prepared.spec.split or "all"
    pad_id = loaded.conversation.tokenizer.pad_token_id
    loader = ScoringLoader(
        prepared.source, loaded.transform, batch_size=config.batch_size, pad_id=pad_id, num_workers=num_workers
    )
    if is_first():
        place = RunDir(folder_of_scores(out, name, split, modes, prepared.digests.sha256))
        baselines = score_baselines(prepared.source, None) if baselines is None else baselines
    documents = []
    for mode in modes:
        evaluation = evaluate_split(
            loaded.model, loader, loaded.conversation, mode, max_new_tokens=config.max_new_tokens,
            first_query_only=first_query_only, progress=scoring_progress(f"scoring {name} {split}, {mode}"),
        )  # fmt: skip
        document = evaluation.scorer.result(
            data=name, split=split, mode=mode, skipped=prepared.skipped_queries, baselines=baselines
        )
        document["deviations"] += deviations
        document["undefined"] |= undefined or {}
        document["data_sha256"] = prepared.digests.sha256
        documents.append(document)
        if is_first():
            write_json(place.scores(name, split, mode), document)
            answers = place.predictions(name, split, mode)
            write_evaluation(evaluation, answers)
            scores, folder = evaluation.scorer.scores, answers.with_suffix("")
            write_pictures(folder, config.overlays, scores, evaluation.predictions, prepared.source)
    return documents


def folder_of_scores(out: Path, data: str, split: str, modes: Sequence[str], sha256: str) -> Path:
    """Where scores are written: never in the place of those of other data, whose folder has the same name.

    Args:
        out: The folder that is meant; made if absent.
        data: Name of the dataset, as files are named after it.
        split: Its split.
        modes: The modes that will be written.
        sha256: Digest of the data.

    Returns:
        `out`, whose files of the same names are replaced; or, where scores of other data lie there, the folder
        `evaluations/DIGEST` in it, which is told.
    """
    place = RunDir(out)
    for scores in (place.scores(data, split, mode) for mode in modes):
        known = _digest_of_scores(scores)
        if known and sha256 and known != sha256:
            place = RunDir(out / "evaluations" / sha256[:12])
            _log.warning("%s has scores of other data of this name: those of these data are in %s", scores, place.path)
            break
    place.path.mkdir(parents=True, exist_ok=True)
    return place.path


def _digest_of_scores(path: Path) -> str:
    """The digest of the data that a scores file is about; empty where there is none, or none is known."""
    try:
        document = read_json(path) if path.is_file() else {}
    except SegtuneError:  # damaged: it is replaced
        return ""
    return str(document.get("data_sha256") or "") if isinstance(document, Mapping) else ""


def require_present(data: str) -> None:
    """Makes sure that a dataset exists: a mistyped directory must be told, not drawn afresh and scored.

    Args:
        data: `KIND:DIR@SPLIT`.

    Raises:
        ConfigError: The name is malformed.
        DataError: There is no such dataset.
    """
    spec = DataSpec.parse(data)
    if spec.directory is not None and is_absent(spec.directory):
        raise DataError(
            "the dataset's directory does not exist",
            where=data,
            expected=f"a directory at {spec.directory.absolute()}",
            found="nothing there",
            fix=f"draw it with `segtune data synth {spec.location}`, or correct the name",
        )


def place_of_scores(model: str, limit: int | None, first_query_only: bool) -> Path:
    """Where an evaluation goes by default: never in the place of the scores that a run has of its best checkpoint.

    Args:
        model: As it was named: `RUN`, `RUN@last`, a checkpoint, a base.
        limit: Only so many images.
        first_query_only: Only one query per record.

    Returns:
        The run directory, for a part of the data or another checkpoint a folder in it, and the current directory
        where the model is no run.
    """
    name, _, which = model.partition("@")
    if not (Path(name) / names.CONFIG).is_file():
        return Path()
    parts = [which] if which not in ("", "best") else []
    parts += [f"first-{limit}-images"] if limit is not None else []
    parts += ["first-query-only"] if first_query_only else []
    return Path(name, "evaluations", "-".join(parts)) if parts else Path(name)
