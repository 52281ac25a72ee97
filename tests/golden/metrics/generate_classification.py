"""Writes scikit-learn's results for random classifications to classification.json.

    python generate_classification.py     needs numpy and scikit-learn
"""

import json
import pathlib

import numpy as np
from sklearn.metrics import top_k_accuracy_score
from sklearn.neighbors import KNeighborsClassifier

rng = np.random.default_rng(0)
cases = []
for train, test, classes, k, temperature in [(60, 20, 4, 10, 0.07), (40, 15, 7, 5, 0.2), (12, 10, 3, 12, 0.07)]:
    centres = rng.normal(size=(classes, 6))
    draw = lambda labels: centres[labels] + rng.normal(size=(len(labels), 6)) * 0.9
    train_labels, test_labels = np.arange(train) % classes, rng.integers(0, classes, test)
    features, queries = draw(train_labels), draw(test_labels)
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
    similarity = np.round(unit(queries) @ unit(features).T, 6)
    # The golden input is the similarities; scikit-learn gets 1 - similarity as distances.
    knn = KNeighborsClassifier(k, metric="precomputed", weights=lambda d: np.exp((1 - d) / temperature))
    knn.fit(np.zeros((train, train)), train_labels)
    votes = knn.predict_proba(1 - similarity)
    # Random scores instead of the votes: votes are often equal, and then scikit-learn prefers the last class,
    # densecl the first.
    scores = np.round(rng.normal(size=votes.shape) + 0.8 * np.eye(classes)[test_labels], 4)
    cases.append({
        "classes": classes, "k": k, "temperature": temperature,
        "similarity": similarity.tolist(), "train_labels": train_labels.tolist(), "labels": test_labels.tolist(),
        "votes": votes.tolist(), "scores": scores.tolist(),
        "top": [top_k_accuracy_score(test_labels, scores, k=n, labels=range(classes)) for n in range(1, classes)],
    })
path = pathlib.Path(__file__).with_name("classification.json")
path.write_text(json.dumps(cases, separators=(",", ":")).replace('},{"classes"', '},\n{"classes"') + "\n")
