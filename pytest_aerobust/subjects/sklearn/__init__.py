"""scikit-learn classifiers: exact twins in torch, or asked as they are."""
