"""Text-to-image person retrieval metrics for `evaluate`: an adapter over `tbps.evaluation.metrics`."""

import datasets
import evaluate
import torch

from tbps.evaluation.metrics import retrieval_metrics

_DESCRIPTION = """
Text-based person search: every caption ranks the whole gallery of images by inner product; a match is an image of the
same person. An image of another person with the same score as a match counts as ranked before it.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: query (caption) embeddings, (Q, E).
    references: person id of every query, (Q,) integers.
    gallery_embeddings: gallery (image) embeddings, (G, E): list, array or tensor.
    gallery_person_ids: person id of every gallery image, (G,) integers: list, array or tensor.
Returns:
    rank_1, rank_5, rank_10: share of the queries with a match among the first 1, 5, 10 images.
    mAP: mean average precision.
    mINP: mean inverse negative penalty, the number of matches over the rank of the last one.
"""

_CITATION = """
@article{ye2021deep,
  title={Deep Learning for Person Re-identification: A Survey and Outlook},
  author={Ye, Mang and Shen, Jianbing and Lin, Gaojie and Xiang, Tao and Shao, Ling and Hoi, Steven C. H.},
  journal={IEEE Transactions on Pattern Analysis and Machine Intelligence},
  year={2021}
}
"""


class TextPersonRetrieval(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float32")),
                    "references": datasets.Value("int64"),
                }
            ),
        )

    def _compute(self, predictions, references, *, gallery_embeddings, gallery_person_ids):
        return retrieval_metrics(
            query_embeds=torch.as_tensor(predictions, dtype=torch.float32),
            gallery_embeds=torch.as_tensor(gallery_embeddings, dtype=torch.float32),
            query_person_ids=references,
            gallery_person_ids=gallery_person_ids,
        )
