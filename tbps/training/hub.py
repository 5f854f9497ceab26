"""A Trainer that shares what tbps shares: no training head, no pickle, and a card of what was measured."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import HfApi, ModelCard
from transformers import Trainer
from transformers.trainer_utils import HubStrategy

from tbps.evaluation.fingerprint import identify
from tbps.modeling_tbps import TBPSModel
from tbps.sharing.card import CARD, REPO_PLACEHOLDER, make_card
from tbps.sharing.errors import hub_errors
from tbps.sharing.push import read_results, upload, write_shared
from tbps.training.arguments import TBPSTrainingArguments
from tbps.training.card_facts import training_facts


class HubTrainer(Trainer):
    """`transformers.Trainer` pushes the whole output directory, with the arguments (and the token in them) pickled."""

    args: TBPSTrainingArguments
    model: TBPSModel

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Make the repository that `args.hub_model_id` names, before a training that would end in a refusal.

        Raises:
            ValueError: `args.hub_strategy` pushes in between. SharingError: the Hub refused, or cannot be reached.
        """
        strategy = HubStrategy(self.args.hub_strategy)
        if strategy != HubStrategy.END:
            raise ValueError(
                f"hub_strategy={strategy.value!r}: expected 'end', as checkpoints of a training hold the head of its "
                "identities and pickled files, which are not shared."
            )
        name = self.args.hub_model_id or Path(self.args.output_dir).absolute().name
        with hub_errors(name, token or self.args.hub_token):
            super().init_hf_repo(token, private)

    def create_model_card(self, **fields: Any) -> None:
        """Write README.md into the output directory; metrics are those of the results.json that lies there.

        Args:
            fields: of `huggingface_hub.ModelCardData`: license, tags, language, ...

        Raises:
            SharingError: results.json tells of another model.
        """
        if self.is_world_process_zero():
            output = Path(self.args.output_dir)
            results = read_results(output, identify(self.model, self.processing_class).fingerprint)
            if not results and self.state.global_step:
                results = training_facts(self.args)
            make_card(self.model, results, self.hub_model_id or REPO_PLACEHOLDER, **fields).save(output / CARD)

    def push_to_hub(
        self,
        commit_message: str = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **fields: Any,
    ) -> Any:
        """Push the model without its training head, its processor, the code of both and the card.

        Args:
            commit_message, revision, private: of the commit, its branch and a repository that is made.
            blocking: wait for the end of the upload. token: instead of `args.hub_token` or the login.
            fields: of `create_model_card`.

        Returns:
            The commit, or a future of it where not `blocking`; None on other processes than the first.

        Raises:
            SharingError: the Hub refused or cannot be reached, or results.json tells of another model.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        if not self.is_world_process_zero():
            return None
        token = token or self.args.hub_token
        if self.hub_model_id is None:
            self.init_hf_repo(token, private)
        self.create_model_card(**fields)
        staged = TemporaryDirectory()
        card = ModelCard.load(Path(self.args.output_dir) / CARD)
        write_shared(self.model, self.processing_class, card, Path(staged.name))
        job = partial(
            upload, staged, self.hub_model_id, revision=revision or self.args.hub_revision, message=commit_message,
            token=token,
        )  # fmt: skip
        return job() if blocking else HfApi().run_as_future(job)
