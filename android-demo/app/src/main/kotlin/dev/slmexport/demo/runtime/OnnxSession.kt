package dev.slmexport.demo.runtime

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import dev.slmexport.demo.model.Artifact
import dev.slmexport.demo.model.Matrix
import dev.slmexport.demo.model.TensorSpec
import java.io.File
import java.nio.FloatBuffer
import java.nio.IntBuffer
import java.nio.LongBuffer

class OnnxSession(file: File, private val artifact: Artifact) : Session {
    private val environment = OrtEnvironment.getEnvironment()
    private val session = opened(environment, file, artifact)
    override val runtime = onnxRuntime(environment)

    override fun run(tokens: Tokens): Map<String, Matrix> {
        requireFits(tokens, artifact)
        val inputs = artifact.inputs.associate { spec ->
            spec.name to integers(environment, spec, tokens.padded(spec, tokens.ids.size, artifact.padId))
        }
        try {
            session.run(inputs).use { result -> return artifact.outputs.associate { it.name to matrix(result, it.name) } }
        } finally {
            inputs.values.forEach(OnnxTensor::close)
        }
    }

    override fun close() = session.close()
}

class OnnxCausalSession(file: File, artifact: Artifact) : CausalSession {
    private val environment = OrtEnvironment.getEnvironment()
    private val session = opened(environment, file, artifact)
    private val inputs = artifact.parts.first().inputs
    private val caches = inputs.filter { it.name.startsWith("past_key_values.") }
    private var held: OrtSession.Result? = null
    private var read = 0
    override val runtime = onnxRuntime(environment)

    init {
        require(caches.all { it.dtype == "float32" }) { "This app keeps no ${caches.first().dtype} caches." }
    }

    override fun restart() {
        held?.close()
        held = null
        read = 0
    }

    override fun read(ids: IntArray): FloatArray {
        val whole = read + ids.size
        val fed = inputs.filter { it !in caches }.associate { spec ->
            val values = if (spec.name == "input_ids") ids else IntArray(whole) { 1 }
            spec.name to integers(environment, spec, values)
        }
        val before = if (held == null) caches.associate { it.name to empty(it) } else emptyMap()
        val kept = held?.let { result -> caches.associate { it.name to present(result, it.name) } }.orEmpty()
        val made = try {
            session.run(fed + before + kept)
        } finally {
            (fed.values + before.values).forEach(OnnxTensor::close)
        }
        held?.close()
        held = made
        read = whole
        val logits = matrix(made, "logits")
        return logits[logits.rows - 1]
    }

    override fun close() {
        restart()
        session.close()
    }

    private fun present(result: OrtSession.Result, name: String) =
        result[name.replace("past_key_values.", "present.")].get() as OnnxTensor

    private fun empty(spec: TensorSpec): OnnxTensor {
        val shape = longArrayOf(1, spec.shape[1]!!.toLong(), 0, spec.shape[3]!!.toLong())
        return OnnxTensor.createTensor(environment, FloatBuffer.allocate(0), shape)
    }
}

private fun onnxRuntime(environment: OrtEnvironment) = "onnxruntime ${environment.version}"

private fun integers(environment: OrtEnvironment, spec: TensorSpec, values: IntArray): OnnxTensor {
    val shape = longArrayOf(1, values.size.toLong())
    if (spec.dtype == "int32") return OnnxTensor.createTensor(environment, IntBuffer.wrap(values), shape)
    return OnnxTensor.createTensor(environment, LongBuffer.wrap(LongArray(values.size) { values[it].toLong() }), shape)
}

private fun opened(environment: OrtEnvironment, file: File, artifact: Artifact): OrtSession =
    OrtSession.SessionOptions().use { options ->
        artifact.options.forEach(options::addConfigEntry)
        environment.createSession(file.path, options)
    }

private fun matrix(result: OrtSession.Result, name: String): Matrix {
    val tensor = result[name].get() as OnnxTensor
    val buffer = tensor.floatBuffer
    return firstOfBatch(FloatArray(buffer.remaining()).also(buffer::get), tensor.info.shape)
}
