"""Every task, format, policy and logger that a recipe can name keeps its contract."""

from __future__ import annotations

import json
import logging
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import pytest

from recr1.answers import TextAnswer
from recr1.baselines.best_edit import BestEdit
from recr1.baselines.best_of import BestOf
from recr1.baselines.ceilings import BestItem, TermOracle
from recr1.baselines.feedback import RM3
from recr1.baselines.field_clauses import FieldClauses
from recr1.baselines.linear_edits import LinearEdits
from recr1.baselines.plain import MeanRating
from recr1.baselines.prompting import FewShot, PromptSearch
from recr1.baselines.recommender import Recommender
from recr1.baselines.without_model import AsShown, Echo, Keywords, Scripted
from recr1.choosing import History, PickOne
from recr1.config.build import builtin, find_class
from recr1.env import Environment
from recr1.formats import JsonAnswer, Plain, Tag
from recr1.loggers.jsonl import JsonlLogger
from recr1.loggers.tensorboard import TensorBoardLogger
from recr1.loggers.trackio import TrackioLogger
from recr1.loggers.wandb import WandbLogger
from recr1.policies.ctranslate2 import CTranslate2, convert
from recr1.policies.openai import OpenAI
from recr1.policies.transformers import Transformers
from recr1.ranking import Ranking
from recr1.tasks.behaviour.augment import AugmentTask
from recr1.tasks.behaviour.rating import RatingTask
from recr1.tasks.behaviour.reviews import ExplainTextTask, ReviewTitleTask
from recr1.tasks.behaviour.sequential import PickOneTask, SequentialTask
from recr1.tasks.files import FilesTask
from recr1.tasks.mixed import MixedTask
from recr1.tasks.published.amazon_c4 import AmazonC4Task
from recr1.tasks.published.amazon_reviews import AmazonReviewsTask
from recr1.tasks.published.esci import EsciTask
from recr1.tasks.published.hnm import HnmTask
from recr1.tasks.published.ir import IrTask
from recr1.tasks.published.trec_products import TrecProductsTask
from recr1.tasks.published.wands import WandsTask
from recr1.tasks.reranking import RerankingTask
from recr1.tasks.shop.task import ShopTask
from recr1.tasks.toy import TOY_DATA, ToyTask
from recr1.testing import FormatContract, LoggerContract, PolicyContract, TaskContract
from retrievers.bm25.bm25 import BM25
from retrievers.lucene.lucene import Lucene
from rewards.base import Candidate, Need
from rewards.measures.reward import MeasureReward
from tests.recr1.loggers.test_loggers import accumulated, closed, histories
from tests.recr1.tasks.published import c4_data, esci_data, hnm_data, ir_data, reviews_data, trec_data, wands_data
from tests.retrievers.lucene.lucene_contracts import needs_java
from tests.retrievers.remote.loopback import shared_engine

TINY = {"type": "transformers", "model": "tiny-shopper", "max_new_tokens": 6}


# Tasks


class TestToy(TaskContract):
    def build(self):
        return ToyTask()


class TestFiles(TaskContract):
    def build(self):
        return FilesTask(path=str(TOY_DATA), format={"type": "json_answer"})


class TestFilesWithoutTraining(TaskContract):
    splits = ("validation", "test")

    def build(self):
        return FilesTask(path=str(TOY_DATA), qrels={"validation": "qrels/dev.tsv", "test": "qrels/test.tsv"})


class TestShop(TaskContract):
    def build(self):
        return ShopTask(items=300, train=40, validation=20, test=20)


class TestShopWithACanary(TaskContract):
    def build(self):
        return ShopTask(items=300, train=40, validation=20, test=20, dialect="b", canary="sku 7f3a")


@cache
def published():
    """A folder for files of published sets, removed with the process."""
    return TemporaryDirectory()


class PublishedContract(TaskContract):
    task: type
    data: ModuleType
    """What generates the files of the set."""

    def build(self):
        if self.data is esci_data:
            pytest.importorskip("pyarrow", reason="pip install 'recr1[parquet]'")
        folder = Path(published().name, self.data.__name__)
        return self.task(path=str(folder if folder.exists() else self.data.write(folder, self.data.tables())))


class TestEsci(PublishedContract):
    task, data = EsciTask, esci_data


class TestWands(PublishedContract):
    task, data = WandsTask, wands_data


class TestAmazonC4(PublishedContract):
    task, data = AmazonC4Task, c4_data


class TestAmazonReviews(PublishedContract):
    task, data = AmazonReviewsTask, reviews_data


class TestHnm(PublishedContract):
    task, data = HnmTask, hnm_data


class TestIr(TaskContract):
    def build(self):
        pytest.importorskip("ir_datasets", reason="pip install 'recr1[ir]'")
        folder = ir_data.write(Path(published().name, "ir"), ir_data.tables())
        return IrTask(name=ir_data.registered(folder, "recr1-contract"))


class TestTrecProducts(PublishedContract):
    task, data = TrecProductsTask, trec_data


class TestRerankOfJudgedItems(TaskContract):
    def build(self):
        return RerankingTask(task={"type": "toy"})


PEOPLE = {"type": "people", "users": 30, "items": 300}


class TestRating(TaskContract):
    def build(self):
        return RatingTask(source=PEOPLE)


class TestExplainText(TaskContract):
    def build(self):
        return ExplainTextTask(source=PEOPLE)


class TestReviewTitle(TaskContract):
    def build(self):
        return ReviewTitleTask(source=PEOPLE, template="held_out", fields=["features", "category"])


class TestMixed(TaskContract):
    def build(self):
        tasks = {"rating": {"type": "rating", "source": PEOPLE}, "title": {"type": "review_title", "source": PEOPLE}}
        return MixedTask(tasks=tasks, measures={"rating": "RatingCloseness", "title": "RougeL"})


class TestAugment(TaskContract):
    def build(self):
        source = {"type": "people", "users": 200, "items": 100, "split": "users"}
        return AugmentTask(source=source, neighbours=2, truth="features")


class TestRerankOfASearch(TaskContract):
    def build(self):
        return RerankingTask(task={"type": "toy"}, candidates={"type": "bm25"}, count=5)


class TestSequential(TaskContract):
    def build(self):
        return SequentialTask(source={"type": "people", "users": 40, "items": 200})


class TestPickOne(TaskContract):
    def build(self):
        return PickOneTask(source={"type": "people", "users": 40, "items": 200}, candidates=5)


# Formats


class TestPlain(FormatContract):
    def build(self):
        return Plain()

    def answers(self):
        return {" red\n tent ": "red tent", 'say "so" {need}': 'say "so" {need}'}


class TestTag(FormatContract):
    def build(self):
        return Tag(system="You know a shop.")

    def answers(self):
        return {"They hike. <query>red  tent</query> Good luck!": "red tent", "<query><b>red</query>": "<b>red"}


class TestRanking(FormatContract):
    def build(self):
        return Ranking()

    def need(self):
        return Need("n", "tea", (), (Candidate(7, "red mug"), Candidate(3, "tea {need}"), Candidate(5, "{candidates}")))

    def answers(self):
        return {"2 > 3 > 1": (3, 5, 7), "[1], [2]\n(3)": (7, 3, 5), " 03;1;2 ": (5, 7, 3)}


class TestRankingMended(TestRanking):
    def build(self):
        return Ranking(mend=True, tagged=True)

    def answers(self):
        return {"They drink. <answer>2 > 9 > 2</answer>": (3, 7, 5), "<answer>3</answer> 1": (5, 7, 3)}


class TestTextAnswer(FormatContract):
    def build(self):
        return TextAnswer(tagged=True)

    def answers(self):
        return {"Hm. <answer> soft,\n warm</answer>": "soft, warm", "<answer>4 {need}</answer> or 5": "4 {need}"}


class TestRatingAnswer(FormatContract):
    def build(self):
        return TextAnswer(scale=[1, 5])

    def answers(self):
        return {"4": "4", "I say 4.50 stars.": "4.5", "(05)": "5"}


class TestPickOneOfItems(FormatContract):
    def build(self):
        return PickOne()

    def need(self):
        return Need("n", "tea", (), (Candidate(7, "red mug"), Candidate(3, "tea {need}"), Candidate(5, "{candidates}")))

    def answers(self):
        return {" Red  MUG\n": (7,), "3": (5,), "2. tea {need}": (3,)}


class TestPickOneOfNumbers(TestPickOneOfItems):
    def build(self):
        return PickOne(answer="number")


class TestHistory(FormatContract):
    def build(self):
        return History()

    def need(self):
        return Need("n", "red mug\nblue tent\n{need}", (4, 4, 9, 2))

    def answers(self):
        return {"1": (4,), "3, 2, 3": (9, 2), "[1] > [2] > [3]": (4, 9, 2)}


class TestJsonAnswer(FormatContract):
    def build(self):
        return JsonAnswer()

    def answers(self):
        return {'<think>They hike.</think>\n<answer>{"query": "red tent", "n": 9}</answer>': "red tent"}


class TestJsonAnswerWithThinkOpened(FormatContract):
    def build(self):
        return JsonAnswer(think_opened=True)

    def answers(self):
        return {'They hike.</think>\n<answer>{"query": "\\u26fa"}</answer>': "\u26fa"}


# Policies


class TestTransformers(PolicyContract):
    def build(self):
        return Transformers(model="tiny-shopper", max_new_tokens=6, batch_size=5, seed=3)


class TestTransformersWithAnAdapter(PolicyContract):
    def build(self):
        return Transformers(model="tiny-shopper", max_new_tokens=6, lora_rank=2, lora_dropout=0.5)


class TestCTranslate2(PolicyContract):
    def build(self):
        pytest.importorskip("ctranslate2")
        folder = Path(published().name, "ctranslate2")
        if not folder.exists():
            convert("tiny-shopper", folder)
        return CTranslate2(model=str(folder), max_new_tokens=6, batch_size=5, seed=3)


class TestOpenAI(PolicyContract):
    def build(self):
        server = shared_engine("tests.recr1.policies.chat_server")
        return OpenAI(url=f"{server.url}/v1", model="m", max_new_tokens=6, seed=3)


class Fixed(PolicyContract):
    samples_differ = False


class TestAsShown(Fixed):
    def build(self):
        return AsShown()


class TestEcho(Fixed):
    def build(self):
        return Echo()


class TestMeanRating(Fixed):
    def build(self):
        return MeanRating(of="user")

    def environment(self):
        task = RatingTask(source=PEOPLE)
        return Environment(task, BM25(task.catalog), [(MeasureReward(measure="RatingCloseness"), 1.0)], k=1)


class TestScripted(Fixed):
    def build(self):
        return Scripted(answers={"music at the pool": "speaker"}, default="lamp")


class TestKeywords(Fixed):
    def build(self):
        pytest.importorskip("yake")
        return Keywords()


class TestRecommender(Fixed):
    def build(self):
        return Recommender(retriever={"type": "bm25"})


class TestPRF(Fixed):
    def build(self):
        return RM3()


class TestBestItem(Fixed):
    def build(self):
        return BestItem()


class TestBestEdit(Fixed):
    def build(self):
        return BestEdit()


class TestLinearEdits(Fixed):
    def build(self):
        return LinearEdits(needs=8, rounds=1)


@needs_java
class TestFieldClauses(Fixed):
    def build(self):
        return FieldClauses()

    def environment(self):
        task = ToyTask()
        engine = Lucene(task.catalog, syntax="lucene", store=None)
        return Environment(task, engine, [(MeasureReward(measure="nDCG@10"), 1.0)], k=10)


class TestTermOracle(Fixed):
    def build(self):
        return TermOracle(terms=2, tried=8)


class TestFewShot(PolicyContract):
    def build(self):
        return FewShot(policy=TINY, shots=2, needs=4, samples=4)


class TestPromptSearch(PolicyContract):
    def build(self):
        return PromptSearch(policy=TINY, prompts=2, budget=16)


class TestBestOf(PolicyContract):
    greedy = False

    def build(self):
        return BestOf(policy=TINY, n=2)


class TestBestOfByAgreement(TestBestOf):
    def build(self):
        return BestOf(policy=TINY, n=2, choose="agreement")


# Loggers


class TestJsonl(LoggerContract):
    def build(self, run):
        return JsonlLogger()

    def numbers(self, run):
        lines = [json.loads(line) for line in (run / "log.jsonl").open()]
        return [(line["step"], line["numbers"]) for line in lines if line["kind"] == "numbers"]


class TestJsonlOfSeveralRuns(TestJsonl):
    def build(self, run):
        return JsonlLogger(path=str(run.parent / "all.jsonl"))

    def numbers(self, run):
        lines = [json.loads(line) for line in (run.parent / "all.jsonl").open()]
        own = [line for line in lines if line["kind"] == "numbers" and line["run"] == run.name]
        return [(line["step"], line["numbers"]) for line in own]


class TestTensorBoard(LoggerContract):
    def build(self, run):
        pytest.importorskip("tensorboard")
        return TensorBoardLogger()

    def numbers(self, run):
        if not (run / "tensorboard").exists():
            return []
        found, steps = accumulated(run / "tensorboard"), {}
        for name in found.Tags()["scalars"]:
            for event in found.Scalars(name):
                steps.setdefault(event.step, []).append((name, event.value))
        assert all(len(dict(values)) == len(values) for values in steps.values())  # no number twice
        return [(step, dict(steps[step])) for step in sorted(steps)]


@pytest.mark.slow
class TestWandb(LoggerContract):
    @pytest.fixture(autouse=True)
    def _offline(self, monkeypatch, tmp_path):
        pytest.importorskip("wandb")
        monkeypatch.setenv("WANDB_SILENT", "true")
        for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
            monkeypatch.setenv(name, str(tmp_path / "home"))
        logging.getLogger("wandb").setLevel(logging.ERROR)

    def build(self, run):
        return WandbLogger(mode="offline")

    def numbers(self, run):
        written = closed(run, ends=len(list(run.glob("wandb/offline-run-*"))))
        return [(step, _own(values)) for step, values in histories(written) if _own(values)]


@pytest.mark.slow
class TestTrackio(LoggerContract):
    @pytest.fixture(autouse=True)
    def _offline(self, monkeypatch, tmp_path_factory):
        pytest.importorskip("trackio")
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        from trackio import sqlite_storage, utils  # both read the folder's variable once, when they are imported

        for module in (sqlite_storage, utils):
            monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path_factory.mktemp("trackio"), raising=False)

    def build(self, run):
        return TrackioLogger(project=run.parent.name)

    def numbers(self, run):
        from trackio.sqlite_storage import SQLiteStorage

        lines = SQLiteStorage.get_logs(run.parent.name, run.name)
        return [(line["step"], _own(line)) for line in lines if _own(line)]


def _own(values):
    """The numbers of a run, without what a service adds, and without tables and histograms."""
    numbers = {name: value for name, value in values.items() if not isinstance(value, dict)}
    return {name: value for name, value in numbers.items() if "/" in name and "/queries" not in name}


CONTRACTS = {"task": TaskContract, "format": FormatContract, "policy": PolicyContract, "logger": LoggerContract}


@cache
def covered(kind):
    """The classes whose contract this file runs."""
    here = [
        value for name, value in globals().items() if name.startswith("Test") and issubclass(value, CONTRACTS[kind])
    ]
    return {type(contract().build(Path("run")) if kind == "logger" else contract().build()) for contract in here}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in CONTRACTS for name in builtin(kind)])
def test_every_builtin_keeps_its_contract(kind, name):
    missing = f"no class here inherits {CONTRACTS[kind].__name__} for the {kind} {name!r}: add one to this file"
    assert find_class(kind, name) in covered(kind), missing
