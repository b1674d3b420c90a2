"""Scores a folder of posters on many machines: the registered model as a Spark function.

    pip install 'poster-ml[spark]'          # and Java 17
    python benchmarks/spark_scoring.py models:/poster-mobilenet_v2@champion POSTERS scores.parquet
    spark-submit --master spark://HOST:7077 benchmarks/spark_scoring.py ...   # on a cluster

The workers get the model through MLflow: poster_ml need not be installed on them. Without a master two local
workers are used. Prints how many posters were scored, by how many processes.
"""

from __future__ import annotations

import argparse
import time
import warnings

RESULT = "probability_fresh double, label string, threshold double, error string"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("model_uri")
    parser.add_argument("posters", help="a folder that every worker can read (file, s3a, hdfs, ...)")
    parser.add_argument("out", help="a folder of Parquet files, which must not exist")
    parser.add_argument("--pattern", default="*.jpg")
    parser.add_argument(
        "--env-manager", default="local", help="local, or uv to build the model's environment"
    )
    parser.add_argument("--partitions", type=int, default=0, help="0: as Spark divides the files")
    arguments = parser.parse_args()
    import mlflow
    from pyspark import SparkConf
    from pyspark.sql import SparkSession
    from pyspark.sql import functions as f

    builder = SparkSession.builder.appName("poster-ml")
    if not SparkConf().contains("spark.master"):  # spark-submit says which
        builder = builder.master("local[2]")
    # 64 posters travel to a worker at once: 2 MB of posters of the usual size.
    spark = builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", "64").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        score = mlflow.pyfunc.spark_udf(
            spark, arguments.model_uri, result_type=RESULT, env_manager=arguments.env_manager
        )
    files = spark.read.format("binaryFile").option("pathGlobFilter", arguments.pattern)
    posters = files.option("recursiveFileLookup", "true").load(arguments.posters)
    if arguments.partitions:
        posters = posters.repartition(arguments.partitions)
    started = time.perf_counter()
    scored = posters.select(f.col("path").alias("poster"), score(f.base64("content")).alias("row"))
    # MLflow writes a missing text as "None" where another row of the batch has one.
    texts = [f.nullif(f"row.{name}", f.lit("None")).alias(name) for name in ("label", "error")]
    columns = ["poster", "row.probability_fresh", texts[0], "row.threshold", texts[1]]
    scored.select(*columns).write.parquet(arguments.out)
    seconds = time.perf_counter() - started
    table = spark.read.parquet(arguments.out)
    failed = table.where(f.col("error").isNotNull()).count()
    print(
        f"{table.count():,} posters in {seconds:.1f} s on {spark.sparkContext.master}, "
        f"{posters.rdd.getNumPartitions()} parts, {failed:,} of them could not be scored: {arguments.out}"
    )


if __name__ == "__main__":
    main()
